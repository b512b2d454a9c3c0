"""Row 11: from the commit of an outbox row until another service's handler has it, on a real broker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import ClassVar
from uuid import UUID

from chassis import logs, migrating
from chassis.database import Sessions, create_engine, create_sessions
from chassis.ids import uuid7
from chassis.settings import ServiceSettings
from contracts.facts import DocumentDeleted
from contracts.topics import DOCUMENTS, USERS
from docqa.embedded.postgres import EmbeddedPostgres
from messaging.delivery import Delivery
from messaging.fences import Fence
from messaging.outbox import Outbox
from messaging.subscribing import Subscription
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from benchmarks.bare.messaging import Messages
from benchmarks.bench import Bench
from benchmarks.comparing import REPETITIONS, compare
from benchmarks.figures import Figure, at_most
from benchmarks.series import Series, percentile
from benchmarks.stands import kafka, scratch
from tests.engines.missing import EngineMissing

SAMPLES = 200
PAUSE = 0.003
LOOK_EVERY = 0.1
STEPS = REPETITIONS + 2


class _Settings(ServiceSettings):
    service: ClassVar[str] = "gateway"


@dataclass
class _Ears:
    """When each fact was handled."""

    heard: dict[UUID, "asyncio.Future[float]"] = field(default_factory=dict)

    async def note(self, session: AsyncSession, fence: Fence, fact: DocumentDeleted) -> None:
        del session, fence
        if (waiting := self.heard.get(fact.document_id)) is not None and not waiting.done():
            waiting.set_result(perf_counter())


async def measure(bench: Bench) -> list[Figure]:
    await bench.stands.close()
    logs.configure("gateway", "error")  # both are in this process, whose output is the table
    try:
        async with _two_services(bench) as (sender, bare):
            return await _compared(bench, sender, bare)
    except EngineMissing as missing:
        bench.tell.notice(f"not measured: {missing}")
        return []


async def _compared(bench: Bench, sender: "_Sender", bare: Messages) -> list[Figure]:
    late = list[float]()

    async def ours() -> float:
        taken = await sender.one_by_one(SAMPLES)
        late.append(1000 * percentile(taken, 99))
        return 1000 * percentile(taken, 50)

    async def straight() -> float:
        return 1000 * percentile(await bare.one_by_one(SAMPLES), 50)

    what = "outbox commit to handler"
    found = await compare(bench, ours, straight, what=what)
    return [
        Figure(11, f"{what}, p50", "ms", found.ours, found.bare, at_most(5), found.note),
        Figure(11, f"{what}, p99", "ms", Series(tuple(late[-REPETITIONS:])), goal=at_most(25)),
    ]


class _Sender:
    """A service that says something, and knows when another has heard it."""

    def __init__(self, sessions: Sessions, ears: _Ears) -> None:
        self._sessions = sessions
        self._outbox = Outbox("gateway")
        self._ears = ears

    async def one_by_one(self, count: int) -> list[float]:
        """Seconds from each commit to its handler."""
        return [await self._one() for _ in range(count)]

    async def _one(self) -> float:
        document, owner = uuid7(), uuid7()
        heard: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._ears.heard[document] = heard
        async with self._sessions.begin() as session:
            self._outbox.add(
                session, DocumentDeleted(document_id=document, owner_id=owner, version=1, deletion_id=owner)
            )
        committed = perf_counter()
        took = max(0.0, await heard - committed)
        await asyncio.sleep(PAUSE)
        return took


@asynccontextmanager
async def _two_services(bench: Bench) -> AsyncIterator[tuple[_Sender, Messages]]:
    """One that speaks and one that hears, each with a database of its own, and what the bare loop needs."""
    async with AsyncExitStack() as opened:
        with bench.tell.step("start"):
            folder = await opened.enter_async_context(scratch())
            postgres = EmbeddedPostgres(folder / "postgres")
            await postgres.start()
            opened.push_async_callback(postgres.stop)
            broker = await opened.enter_async_context(kafka(folder))
            ears = _Ears()
            hearing = [Subscription(DOCUMENTS, {DocumentDeleted: ears.note})]
            await _deliver(opened, postgres, broker, "ingest", hearing)
            engine = await _deliver(opened, postgres, broker, "gateway", [])
        yield _Sender(create_sessions(engine), ears), Messages(broker, USERS.name, engine)


async def _deliver(
    opened: AsyncExitStack, postgres: EmbeddedPostgres, broker: str, service: str, hearing: list[Subscription]
) -> AsyncEngine:
    await postgres.create_role(service)
    await postgres.create_database(service, owner=service)
    url = postgres.url(service, service)
    await migrating.upgrade(service, url)
    engine = create_engine(url)
    opened.push_async_callback(engine.dispose)
    settings = _Settings(port=0, database_url=url, kafka=broker, auth_url="http://127.0.0.1")
    delivery = Delivery(service, settings, engine, subscriptions=hearing)
    await opened.enter_async_context(delivery.running())
    while await delivery.readiness["kafka"]() is not None:  # noqa: ASYNC110 - it is a check, not an event
        await asyncio.sleep(LOOK_EVERY)
    return engine
