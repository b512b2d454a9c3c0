"""Dead letters are handled again when somebody asks for it, and once however often they do."""

import asyncio
from typing import Any

import pytest
from chassis.database import Sessions
from chassis.failures import Poison
from chassis.transactions import Transactions, driver_of
from contracts.facts import DocumentUploaded, Fact
from contracts.topics import DOCUMENTS
from messaging import dead_letters, jobs
from messaging.fences import Fence
from messaging.handling import Handling
from messaging.records import Record
from messaging.replaying import Replayer
from messaging.subscribing import Subscription
from messaging.tables import DeadLetter, JobRow, OutboxRow
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from libs.messaging.tests.samples import until, uploaded
from libs.messaging.tests.test_handling import record_of


class Service:
    """A service whose handler can be broken and mended."""

    def __init__(self, transactions: Transactions, sessions: Sessions) -> None:
        self.broken = True
        self.busy: str | None = None
        self.effects: list[Fact] = []
        self.handling = Handling(Subscription(DOCUMENTS, {DocumentUploaded: self._hear}), transactions)
        self.woken = asyncio.Event()
        self.replayer = Replayer(sessions, {"documents": self.handling}, woken=self.woken)

    async def _hear(self, session: AsyncSession, fence: Fence, fact: DocumentUploaded) -> None:
        if self.busy == fact.subject:
            raise TimeoutError
        if self.broken:
            raise KeyError("broken")
        self.effects.append(fact)
        await jobs.add(session, kind="some", subject=fact.subject, version=fact.version, owner=fact.owner_id)

    async def replay_all(self) -> None:
        letter: int | None = 0
        while letter is not None:
            letter = await self.replayer.replay_next(letter)


@pytest.fixture
async def service(transactions: Transactions, sessions: Sessions) -> Service:
    return Service(transactions, sessions)


async def letters(sessions: Sessions) -> list[DeadLetter]:
    async with sessions() as session:
        return list(await session.scalars(select(DeadLetter).order_by(DeadLetter.id)))


async def ask(sessions: Sessions, **which: Any) -> int:
    async with sessions.begin() as session:
        return await dead_letters.replay(session, **which)


async def test_replayed_twice_has_no_double_effect(service: Service, sessions: Sessions) -> None:
    fact = uploaded()
    await service.handling.handle(record_of(fact))
    service.broken = False
    assert await ask(sessions) == 1
    assert await ask(sessions) == 0
    await asyncio.gather(service.replay_all(), service.replay_all())
    assert await ask(sessions) == 0
    await service.replay_all()
    assert service.effects == [fact]
    (letter,) = await letters(sessions)
    assert (letter.state, letter.replays) == ("replayed", 1)
    assert letter.replayed_at is not None
    async with sessions() as session:
        assert await session.scalar(select(func.count()).select_from(JobRow)) == 1


async def test_what_fails_again_lies_dead_again(service: Service, sessions: Sessions) -> None:
    await service.handling.handle(record_of(uploaded()))
    await ask(sessions)
    await service.replay_all()
    (letter,) = await letters(sessions)
    assert (letter.state, letter.replays, letter.replayed_at) == ("dead", 1, None)
    service.broken = False
    await ask(sessions, letter_id=letter.id)
    await service.replay_all()
    assert len(service.effects) == 1


async def test_one_that_cannot_be_replayed_yet_keeps_no_other_from_it(service: Service, sessions: Sessions) -> None:
    first, second = uploaded(), uploaded()
    for offset, fact in enumerate((first, second)):
        await service.handling.handle(record_of(fact, offset=offset))
    service.broken, service.busy = False, first.subject
    assert await ask(sessions) == 2
    await service.replay_all()
    assert [letter.state for letter in await letters(sessions)] == ["replaying", "replayed"]
    service.busy = None
    await service.replay_all()
    assert [letter.state for letter in await letters(sessions)] == ["replayed", "replayed"]


async def test_one_that_fails_here_while_another_replica_replays_it_is_replayed(
    service: Service, transactions: Transactions, sessions: Sessions
) -> None:
    """As in a rolling upgrade whose release mends the handler."""
    await service.handling.handle(record_of(uploaded()))
    await ask(sessions)
    mended, still_dead = Service(transactions, sessions), service.replayer._still_dead
    mended.broken = False

    async def meanwhile(letter_id: int, error: Exception) -> None:
        await mended.replay_all()
        await still_dead(letter_id, error)

    service.replayer._still_dead = meanwhile  # type: ignore[method-assign]
    await service.replay_all()
    assert [letter.state for letter in await letters(sessions)] == ["replayed"]
    assert await ask(sessions) == 0


async def test_letters_are_chosen_by_reason(service: Service, sessions: Sessions) -> None:
    await service.handling.handle(record_of(uploaded()))
    await service.handling.handle(Record("documents", 0, 5, b"k", b"not json"))
    assert await ask(sessions, reason="record.unreadable") == 1
    assert [letter.state for letter in await letters(sessions)] == ["dead", "replaying"]


async def test_what_was_cut_cannot_be_replayed(service: Service, sessions: Sessions) -> None:
    await service.handling.handle(Record("documents", 0, 5, b"k", b"x" * 2_000_000))
    await service.handling.handle(Record("documents", 0, 6, b"k", None))
    assert await ask(sessions) == 0


async def test_the_same_place_in_another_log_is_another_letter(transactions: Transactions, sessions: Sessions) -> None:
    failure = Poison("record.unreadable", "")
    async with transactions.begin() as session:
        assert await dead_letters.bury(session, Record("documents", 0, 5, b"k", b"one"), failure)
        assert not await dead_letters.bury(session, Record("documents", 0, 5, b"k", b"one"), failure)
        assert await dead_letters.bury(session, Record("documents", 0, 5, b"k", b"two"), failure)


async def test_a_fact_that_was_refused_is_said_again_with_its_id(service: Service, sessions: Sessions) -> None:
    record = record_of(uploaded())
    said = """
        SELECT 7 AS id, 'documents' AS topic, $1::text AS subject, $2::bytea AS body, NULL AS traceparent
    """
    async with sessions.begin() as session:
        row = await (await driver_of(session)).fetchrow(said, (record.key or b"").decode(), record.value)
        assert row is not None
        session.add(dead_letters.of_outbox(row, "MessageSizeTooLargeError"))
    await ask(sessions)
    await service.replay_all()
    async with sessions() as session:
        (row,) = (await session.scalars(select(OutboxRow))).all()
    assert (row.body, row.topic, row.type) == (record.value, "documents", "document.uploaded.v1")


async def test_the_replayer_looks_when_it_is_woken(service: Service, sessions: Sessions) -> None:
    service.broken = False
    running = asyncio.create_task(service.replayer.run())
    await service.handling.handle(Record("documents", 0, 5, b"k", b"not json"))
    async with sessions.begin() as session:
        await session.execute(text("UPDATE dead_letters SET value = :value"), {"value": record_of(uploaded()).value})
    await ask(sessions)
    service.woken.set()
    await until(lambda: len(service.effects) == 1)
    running.cancel()
