"""The whole of it: said here, heard there, worked on, over a broker with real offsets."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiokafka import AIOKafkaConsumer
from chassis import metrics
from chassis.database import Sessions
from chassis.failures import Misconfigured
from chassis.telemetry import continue_trace, traceparent
from contracts.facts import DocumentDeleted, DocumentReady, DocumentUploaded
from contracts.topics import DOCUMENTS, TOPICS
from docqa.embedded.broker import EmbeddedKafka
from messaging import dead_letters, gauges, jobs, pulsing
from messaging.chores import Chore
from messaging.delivery import Delivery
from messaging.fences import Fence
from messaging.jobs import Job
from messaging.outbox import Outbox
from messaging.subscribing import Subscription
from messaging.tables import DeadLetter, JobRow, OutboxRow
from messaging.workers import Finish
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from libs.messaging.tests.samples import SomeWork, deleted, ready, some_settings, until, uploaded

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
PARTITIONS = {topic.name: topic.partitions for topic in TOPICS}


async def note(session: AsyncSession, fence: Fence, fact: DocumentUploaded) -> None:
    if fence.hear(fact.version):
        await jobs.add(session, kind="some", subject=fact.document_id, version=fact.version, owner=fact.owner_id)


async def forget(session: AsyncSession, fence: Fence, fact: DocumentDeleted) -> None:
    fence.delete()


HEARS = Subscription(DOCUMENTS, {DocumentUploaded: note, DocumentDeleted: forget})


class Service:
    """A service on its own database, and what its tests ask of it."""

    def __init__(self, engine: AsyncEngine, sessions: Sessions, kafka: str) -> None:
        self.engine = engine
        self.sessions = sessions
        self.kafka = kafka
        self.ended: list[str] = []

    def delivery(self, **parts: Any) -> Delivery:
        return Delivery("some", some_settings(self.kafka), self.engine, end=self.ended.append, **parts)

    async def say(self, *facts: Any) -> list[UUID]:
        async with self.sessions.begin() as session:
            return [Outbox("some").add(session, fact) for fact in facts]

    async def all(self, table: Any) -> list[Any]:
        async with self.sessions() as session:
            return list(await session.scalars(select(table)))

    async def states(self) -> list[str]:
        return [row.state for row in await self.all(JobRow)]


@pytest.fixture
def service(engine: AsyncEngine, sessions: Sessions, kafka: str) -> Service:
    return Service(engine, sessions, kafka)


async def test_what_is_said_is_heard_and_worked_on_in_one_trace(service: Service) -> None:
    class Traced(SomeWork):
        trace: str | None = None

        async def run(self, job: Job) -> Finish:
            self.trace = traceparent()
            return await super().run(job)

    work = Traced()
    delivery = service.delivery(subscriptions=[HEARS], works=[work])
    async with delivery.running():
        with continue_trace(TRACE):
            await service.say(fact := uploaded())
        await until(lambda: len(work.finished) == 1)
        assert work.finished[0].subject == fact.subject
        assert (work.trace or "").split("-")[1] == TRACE.split("-")[1]
        assert {name: await check() for name, check in delivery.readiness.items()} == {"kafka": None, "work": None}
        assert await delivery.liveness["progress"]() is None
    assert service.ended == []


async def test_a_service_may_only_speak(service: Service) -> None:
    delivery = service.delivery()
    async with delivery.running():
        await service.say(uploaded())

        async def sent() -> bool:
            return all(row.sent_at is not None for row in await service.all(OutboxRow))

        await until(sent)
        assert await delivery.readiness["kafka"]() is None


async def test_without_a_broker_everything_else_goes_on(engine: AsyncEngine, sessions: Sessions) -> None:
    service = Service(engine, sessions, "127.0.0.1:1")
    work = SomeWork()
    delivery = service.delivery(subscriptions=[HEARS], works=[work])
    async with delivery.running():
        await service.say(uploaded())
        async with sessions.begin() as session:
            await jobs.add(session, kind="some", subject="s", version=1, owner="a")
        await until(lambda: len(work.finished) == 1)
        assert await delivery.readiness["kafka"]() == "not consuming documents"
        assert await delivery.liveness["progress"]() is None
    assert service.ended == []


async def test_a_job_noted_by_nobody_of_ours_is_found_by_notification(service: Service) -> None:
    work = SomeWork()
    async with service.delivery(works=[work]).running() as _:
        async with service.engine.begin() as connection:
            await connection.execute(text("INSERT INTO fences (subject) VALUES ('s')"))
            await connection.execute(
                text("INSERT INTO jobs (subject, version, kind, part, owner) VALUES ('s', 1, 'some', 0, 'a')")
            )
        await until(lambda: len(work.finished) == 1)


async def test_a_missed_notification_costs_a_second_and_no_job(service: Service) -> None:
    async with service.engine.begin() as connection:
        await connection.execute(text("ALTER TABLE jobs DISABLE TRIGGER notify_jobs"))
        await connection.execute(text("ALTER TABLE outbox DISABLE TRIGGER notify_outbox"))
    work = SomeWork()
    delivery = service.delivery(works=[work], subscriptions=[HEARS])
    async with delivery.running():
        await delivery.listener.ready()
        async with service.sessions.begin() as session:
            await jobs.add(session, kind="some", subject="s", version=1, owner="a", delay=timedelta(milliseconds=50))
        await service.say(uploaded())
        await until(lambda: len(work.finished) == 2)


async def test_a_deletion_stops_the_work_of_every_process(service: Service) -> None:
    work, document = SomeWork(held=True), uuid4()
    async with service.delivery(subscriptions=[HEARS], works=[work]).running():
        await service.say(uploaded(document))
        await work.started.wait()
        await service.say(deleted(document))
        await until(lambda: len(work.erased) == 1)
        assert work.finished == []


async def test_a_lost_lease_is_found_by_the_pulse(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulsing, "HOLDERS_FIRST", timedelta(0))
    async with service.sessions.begin() as session:
        await jobs.add(session, kind="some", subject="s", version=1, owner="a")
    async with service.engine.begin() as connection:
        await connection.execute(
            text("UPDATE jobs SET state = 'running', attempt = 1, lease_until = now() - interval '1 second'")
        )
    work = SomeWork()
    async with service.delivery(works=[work]).running():
        await until(lambda: len(work.finished) == 1)
    assert (work.finished[0].attempt, work.finished[0].crashes) == (2, 1)


async def test_stopping_hands_back_what_is_running(service: Service) -> None:
    work = SomeWork(held=True)
    async with service.delivery(works=[work]).running():
        async with service.sessions.begin() as session:
            await jobs.add(session, kind="some", subject="s", version=1, owner="a")
        await work.started.wait()
    assert await service.states() == ["waiting"]
    (row,) = await service.all(JobRow)
    assert (row.tries, row.crashes) == (0, 0)


async def test_what_was_said_last_is_sent_before_the_process_ends(service: Service) -> None:
    async with service.engine.begin() as connection:
        await connection.execute(text("ALTER TABLE outbox DISABLE TRIGGER notify_outbox"))
    async with service.delivery().running():
        await service.say(uploaded())
    (row,) = await service.all(OutboxRow)
    assert row.sent_at is not None


async def test_wrong_configuration_is_told_by_readiness(service: Service) -> None:
    work = SomeWork(failures=[Misconfigured("provider.key", "the key was refused")])
    delivery = service.delivery(works=[work])
    async with delivery.running():
        async with service.sessions.begin() as session:
            await jobs.add(session, kind="some", subject="s", version=1, owner="a")

        async def told() -> bool:
            return await delivery.readiness["work"]() == "some: provider.key: the key was refused"

        await until(told)
        assert await delivery.liveness["progress"]() is None


async def test_dead_letters_are_replayed_where_they_lie(service: Service) -> None:
    broken, heard = True, []

    async def hear(session: AsyncSession, fence: Fence, fact: DocumentUploaded) -> None:
        if broken:
            raise KeyError("broken")
        heard.append(fact)

    async with service.delivery(subscriptions=[Subscription(DOCUMENTS, {DocumentUploaded: hear})]).running():
        await service.say(fact := uploaded())

        async def buried() -> bool:
            return len(await service.all(DeadLetter)) == 1

        await until(buried)
        broken = False
        async with service.sessions.begin() as session:
            await dead_letters.replay(session)
        await until(lambda: heard == [fact])


async def test_chores_run_and_can_be_hurried(service: Service) -> None:
    runs: list[bool] = []

    async def run(session: AsyncSession) -> None:
        runs.append(True)

    delivery = service.delivery(chores=[Chore(name="reconcile", every=timedelta(hours=1), run=run)])
    async with delivery.running():
        await until(lambda: len(runs) == 1)

        async def hurried() -> bool:
            await delivery.hurry("reconcile")
            return len(runs) == 2

        await until(hurried)


async def test_the_databases_connections_may_all_be_cut(service: Service) -> None:
    work = SomeWork()
    delivery = service.delivery(subscriptions=[HEARS], works=[work])
    async with delivery.running():
        await until(_joined(delivery))
        for number in range(1, 4):
            async with service.engine.begin() as connection:
                await connection.execute(
                    text(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                        " AND pid <> pg_backend_pid()"
                    )
                )
            await _said(service, uploaded())
            await until(lambda: len(work.finished) == number)  # noqa: B023
    assert service.ended == []
    assert work.lost_jobs == []


async def test_a_wiped_broker_gets_what_ends_a_version_again(engine: AsyncEngine, sessions: Sessions) -> None:
    wiped: list[bool] = []

    async def on_wiped() -> None:
        wiped.append(True)

    heard: list[UUID] = []

    async def hear(session: AsyncSession, fence: Fence, fact: DocumentReady) -> None:
        heard.append(fact.document_id)

    subscription = Subscription(DOCUMENTS, {DocumentReady: hear})
    fact = ready()
    for _ in range(2):
        with EmbeddedKafka(PARTITIONS) as broker:
            service = Service(engine, sessions, broker.bootstrap_servers)
            delivery = service.delivery(subscriptions=[subscription], on_wiped=on_wiped)
            async with delivery.running():
                await until(_joined(delivery))
                if not heard:
                    await service.say(fact)
                before = len(heard)
                await until(lambda: len(heard) > before)  # noqa: B023
    assert heard == [fact.document_id] * 2
    assert len(wiped) == 2, "a topic that nothing was ever read of is new, too"


async def test_what_waits_is_measured(service: Service) -> None:
    async with service.sessions.begin() as session:
        for version in (1, 2):
            await jobs.add(session, kind="some", subject="s", version=version, owner="a")
    await service.say(uploaded())
    await gauges.measure(service.engine, ["some"])
    waiting: Any = metrics.JOBS.labels("some", "waiting")
    depth: Any = metrics.OUTBOX_DEPTH
    assert waiting._value.get() == 2
    assert depth._value.get() == 1


async def test_a_part_that_ends_by_a_mistake_of_ours_ends_the_process(service: Service) -> None:
    delivery = service.delivery()

    async def breaks() -> None:
        raise KeyError("a mistake")

    delivery._keep(breaks(), "some part")
    await until(lambda: service.ended == ["some part ended: KeyError"])


async def test_records_carry_the_id_that_was_said(service: Service) -> None:
    (event_id,) = await service.say(uploaded())
    async with service.delivery().running():
        consumer = AIOKafkaConsumer("documents", bootstrap_servers=service.kafka, auto_offset_reset="earliest")
        await consumer.start()
        record = await asyncio.wait_for(consumer.getone(), 20)
        await consumer.stop()
    assert str(event_id).encode() in record.value


def _joined(delivery: Delivery) -> Callable[[], Any]:
    async def joined() -> bool:
        return await delivery.readiness["kafka"]() is None

    return joined


async def _said(service: Service, fact: DocumentUploaded) -> None:
    """The cut may have hit the pool's own connections: a service repeats, and so does this."""
    for _ in range(20):
        try:
            await service.say(fact)
        except Exception:
            await asyncio.sleep(0.05)
        else:
            return
