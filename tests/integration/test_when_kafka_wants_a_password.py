"""A managed Kafka wants a password, and TLS: with the right ones facts travel, with wrong ones they wait."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from chassis.database import Sessions, create_engine, create_sessions
from chassis.settings import ServiceSettings
from contracts.facts import DocumentUploaded
from contracts.topics import DOCUMENTS
from messaging.delivery import Delivery
from messaging.fences import Fence
from messaging.outbox import Outbox
from messaging.subscribing import Subscription
from messaging.tables import OutboxRow
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from structlog.testing import capture_logs

from conftest import FreshDatabase
from tests.engines.guarded_kafka import PASSWORD, USER, GuardedKafka
from tests.engines.missing import EngineMissing

pytestmark = pytest.mark.timeout(300)

ARRIVES_WITHIN = 30.0
REFUSED_FOR = 6.0
"""Seconds: long enough for a loop that does not wait to be seen."""


class SomeSettings(ServiceSettings):
    service: ClassVar[str] = "some"


class Listening:
    """A service that says what it is told to say, and remembers what it hears."""

    def __init__(self, engine: AsyncEngine, **kafka: Any) -> None:
        settings = SomeSettings(
            port=0, database_url="postgresql+asyncpg:///some", auth_url="http://127.0.0.1:1", **kafka
        )
        self.heard: list[UUID] = []
        self._came = asyncio.Event()
        self._sessions: Sessions = create_sessions(engine)
        hears = Subscription(DOCUMENTS, {DocumentUploaded: self._hear})
        self.delivery = Delivery("some", settings, engine, subscriptions=[hears])

    async def says(self, document: UUID) -> None:
        async with self._sessions.begin() as session:
            Outbox("some").add(session, uploaded(document))

    async def hears(self, document: UUID) -> None:
        async with asyncio.timeout(ARRIVES_WITHIN):
            while document not in self.heard:
                self._came.clear()
                await self._came.wait()

    async def becomes_ready(self) -> None:
        async with asyncio.timeout(ARRIVES_WITHIN):
            while True:
                if await self.delivery.readiness["kafka"]() is None:
                    return
                await asyncio.sleep(0.05)

    async def waiting(self) -> int:
        async with self._sessions() as session:
            return await session.scalar(select(func.count()).select_from(OutboxRow)) or 0

    async def _hear(self, session: AsyncSession, fence: Fence, fact: DocumentUploaded) -> None:
        self.heard.append(fact.document_id)
        self._came.set()


def uploaded(document: UUID) -> DocumentUploaded:
    return DocumentUploaded(
        document_id=document,
        owner_id=uuid4(),
        version=1,
        round=0,
        media_type="text/plain",
        size_bytes=1,
        sha256="0" * 64,
    )


@pytest.fixture(autouse=True)
def _usual() -> None:
    """No cluster is needed here."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def broker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GuardedKafka]:
    try:
        broker = GuardedKafka(tmp_path_factory.mktemp("guarded") / "kafka")
        await broker.start()
    except EngineMissing as missing:
        pytest.skip(f"NOT TESTED: a Kafka that wants a password has to be one of our own, and {missing}")
    try:
        yield broker
    finally:
        await broker.remove()


@pytest.fixture
async def engine(database: FreshDatabase) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(await database("embedder"))
    yield engine
    await engine.dispose()


Ways = dict[str, dict[str, Any]]


@pytest.fixture
def ways(broker: GuardedKafka, tmp_path: Path) -> Ways:
    """The settings that are right for each of its guarded listeners."""
    file = tmp_path / "ca.crt"
    file.write_bytes(broker.authority)
    known = {"kafka_username": USER, "kafka_password": PASSWORD}
    return {
        "guarded": {
            "kafka": broker.guarded,
            "kafka_security": "SASL_PLAINTEXT",
            "kafka_sasl_mechanism": "SCRAM-SHA-256",
            **known,
        },
        "sealed": {
            "kafka": broker.sealed,
            "kafka_security": "SASL_SSL",
            "kafka_sasl_mechanism": "PLAIN",
            "kafka_ca_file": file,
            **known,
        },
    }


@pytest.mark.parametrize("way", ["guarded", "sealed"])
async def test_a_fact_travels_with_the_right_password(way: str, ways: Ways, engine: AsyncEngine) -> None:
    service = Listening(engine, **ways[way])
    document = uuid4()

    async with service.delivery.running():
        await service.says(document)
        await service.hears(document)
        await service.becomes_ready()


@pytest.mark.parametrize(
    ("way", "wrong", "reason"),
    [
        ("guarded", {"kafka_password": "guessed"}, "_AUTHENTICATION"),
        ("sealed", {"kafka_password": "guessed"}, "_AUTHENTICATION"),
        ("sealed", {"kafka_ca_file": None}, "certificate verify failed"),
    ],
)
async def test_who_cannot_come_in_says_why_and_loses_nothing(
    way: str,
    wrong: dict[str, Any],
    reason: str,
    ways: Ways,
    engine: AsyncEngine,
) -> None:
    document = uuid4()
    refused = Listening(engine, **{**ways[way], **wrong})
    with capture_logs() as told:
        async with refused.delivery.running():
            await refused.says(document)
            await asyncio.sleep(REFUSED_FOR)
            assert await refused.delivery.readiness["kafka"]() == "not consuming documents"
    assert reason in str(told)
    assert "guessed" not in str(told)
    assert PASSWORD not in str(told)
    assert len(told) < 50, "it tries again and again without waiting"
    assert await refused.waiting() == 1

    service = Listening(engine, **ways[way])
    async with service.delivery.running():
        await service.hears(document)
