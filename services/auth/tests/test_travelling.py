"""Auth as it runs: with a broker, its chores and its lifespan."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID, uuid4

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from auth.main import create_app
from auth.settings import AuthSettings
from auth.tables import AccountDeletionRow
from chassis.database import Sessions
from chassis.schema import WrongSchema
from contracts.envelope import Envelope
from contracts.facts import Fact, UserDeleted, UserPurged
from contracts.topics import USERS
from sqlalchemy import func, select

PASSWORD = "correct horse battery staple"


@asynccontextmanager
async def running(settings: AuthSettings) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(settings)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://auth") as client,
    ):
        yield client


@asynccontextmanager
async def everything_said(kafka: str) -> AsyncIterator[Callable[[], Awaitable[Fact]]]:
    """`await next_fact()`: what is said on `users`, from the beginning."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, auto_offset_reset="earliest")
    await consumer.start()
    consumer.assign([TopicPartition(USERS.name, number) for number in range(USERS.partitions)])

    async def next_fact() -> Fact:
        record = await asyncio.wait_for(consumer.getone(), 20)
        return Envelope.parse(record.value).fact()

    try:
        yield next_fact
    finally:
        await consumer.stop()


async def say(kafka: str, *facts: Fact) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    for fact in facts:
        envelope = Envelope.wrap(fact, event_id=uuid4(), source="test", time=datetime.now(UTC))
        await producer.send_and_wait(fact.topic.name, envelope.to_bytes(), key=fact.subject.encode())
    await producer.stop()


async def until_nothing_is_left(sessions: Sessions) -> None:
    deadline = time.monotonic() + 30
    while True:
        async with sessions() as session:
            if not await session.scalar(select(func.count()).select_from(AccountDeletionRow)):
                return
        assert time.monotonic() < deadline, "the deletion is still there"
        await asyncio.sleep(0.05)


async def delete_an_account(auth: httpx.AsyncClient) -> tuple[UUID, UUID]:
    signed_up = await auth.post("/api/auth/signup", json={"email": "ada@example.org", "password": PASSWORD})
    headers = {"Authorization": f"Bearer {signed_up.json()['access_token']}"}
    closed = await auth.post("/api/auth/me/delete", json={"password": PASSWORD}, headers=headers)
    assert closed.status_code == 202
    return UUID(signed_up.json()["user"]["id"]), UUID(closed.json()["deletion_id"])


async def test_a_deletion_is_heard_of_and_ends_when_all_have_purged(
    settings: AuthSettings, kafka: str, sessions: Sessions
) -> None:
    settings = settings.model_copy(update={"kafka": kafka})
    async with running(settings) as auth, everything_said(kafka) as next_fact:
        user_id, deletion_id = await delete_an_account(auth)

        heard = await next_fact()
        assert heard == UserDeleted(user_id=user_id, deletion_id=deletion_id, erased=3)

        purged = UserPurged(user_id=user_id, deletion_id=deletion_id, service="gateway", erased=0, remaining=0)
        await say(kafka, purged, purged.model_copy(update={"service": "qa"}))
        await until_nothing_is_left(sessions)


async def test_it_serves_while_the_broker_is_away(settings: AuthSettings) -> None:
    async with running(settings) as auth:
        await delete_an_account(auth)

        assert (await auth.get("/health/ready")).status_code == 200
        assert (await auth.get("/health/live")).status_code == 200


async def test_it_is_not_ready_without_its_database(
    settings: AuthSettings, replica: Callable[[AuthSettings], httpx.AsyncClient]
) -> None:
    nowhere = settings.model_copy(update={"database_url": "postgresql+asyncpg://auth:x@127.0.0.1:1/auth"})
    auth = replica(nowhere)

    ready = await auth.get("/health/ready")
    login = await auth.post("/api/auth/login", json={"email": "ada@example.org", "password": PASSWORD})

    assert ready.status_code == 503
    assert "database" in ready.json()["missing"]
    assert login.status_code == 503
    assert login.json()["code"] == "service.unavailable"
    assert "retry-after" in login.headers


async def test_it_refuses_to_start_on_an_empty_database(
    settings: AuthSettings, database: Callable[[str | None], Awaitable[str]]
) -> None:
    empty = settings.model_copy(update={"database_url": await database(None)})

    with pytest.raises(WrongSchema, match=r"auth\.migrate"):
        async with running(empty):
            pass
