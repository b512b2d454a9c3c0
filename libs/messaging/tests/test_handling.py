"""Handling records: each noted in a transaction, or put aside; never in between."""

import asyncio
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
import structlog
from chassis.database import create_engine, create_sessions
from chassis.failures import Poison
from chassis.ids import uuid7
from chassis.transactions import Transactions
from confluent_kafka import Message
from contracts.envelope import Envelope
from contracts.facts import DocumentDeleted, DocumentFact, DocumentReady, DocumentUploaded, Fact
from contracts.topics import DOCUMENTS, USERS
from messaging import fences, jobs
from messaging.fences import Fence
from messaging.handling import Handling
from messaging.outbox import Outbox
from messaging.records import Record
from messaging.subscribing import Subscription, Together
from messaging.tables import DeadLetter, JobRow, OutboxRow
from messaging.working import Worker, workers_of
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from libs.messaging.tests.samples import SomeWork, deleted, ready, until, uploaded


def record_of(fact: Fact, *, offset: int = 0, event_id: UUID | None = None) -> Record:
    envelope = Envelope.wrap(fact, event_id=event_id or uuid7(), source="test", time=datetime.now(UTC))
    return Record("documents", 0, offset, fact.subject.encode(), envelope.to_bytes())


async def note(session: AsyncSession, fence: Fence, fact: DocumentUploaded) -> None:
    """As a service does it: an answer to a new round, or a job, or nothing."""
    if (outcome := fence.answer_round(fact)) is not None:
        Outbox("some").add(session, outcome)
    elif fence.hear(fact.version):
        await jobs.add(session, kind="some", subject=fact.subject, version=fact.version, owner=fact.owner_id)


async def forget(session: AsyncSession, fence: Fence, fact: DocumentDeleted) -> None:
    fence.delete()
    await jobs.cancel(session, fact.subject)


async def hear_ready(session: AsyncSession, fence: Fence, fact: DocumentReady) -> None:
    fence.raise_live(fact.version)


def a_handling(transactions: Transactions, handlers: dict[type[Fact], Any] | None = None, **options: Any) -> Handling:
    usual: dict[type[Fact], Any] = {DocumentUploaded: note, DocumentDeleted: forget, DocumentReady: hear_ready}
    return Handling(Subscription(DOCUMENTS, handlers or usual), transactions, **options)


async def dead(transactions: Transactions) -> list[DeadLetter]:
    async with transactions.begin() as session:
        return list(await session.scalars(select(DeadLetter).order_by(DeadLetter.id)))


async def count(transactions: Transactions, table: Any) -> int:
    async with transactions.begin() as session:
        return await session.scalar(select(func.count()).select_from(table)) or 0


async def the_fence(transactions: Transactions, subject: str) -> Fence | None:
    async with transactions.begin() as session:
        return await fences.read(session, subject)


async def is_done(transactions: Transactions) -> bool:
    """Whether one job is done."""
    async with transactions.begin() as session:
        return "done" in list(await session.scalars(select(JobRow.state)))


async def test_a_record_heard_twice_changes_nothing(transactions: Transactions) -> None:
    handling, record = a_handling(transactions), record_of(uploaded())
    await handling.handle(record)
    await handling.handle(record)
    assert await count(transactions, JobRow) == 1
    assert await count(transactions, OutboxRow) == 0


async def test_what_a_handler_notes_begins_with_its_commit(transactions: Transactions) -> None:
    work = SomeWork()
    handling = a_handling(transactions, workers=[Worker(work, transactions)])
    await handling.handle(record_of(uploaded()))
    await until(lambda: is_done(transactions))
    assert work.finished[0].attempt == 1


async def test_what_a_handler_notes_waits_where_all_places_are_taken(transactions: Transactions) -> None:
    work = SomeWork(held=True)
    handling = a_handling(transactions, workers=[Worker(work, transactions)])
    for _ in range(3):
        await handling.handle(record_of(uploaded()))
    async with transactions.begin() as session:
        states = list(await session.scalars(select(JobRow.state).order_by(JobRow.state)))
    assert states == ["running", "waiting", "waiting"]
    work.gate.set()
    await until(lambda: is_done(transactions))


async def test_a_light_job_begins_with_its_commit_though_all_other_places_are_taken(transactions: Transactions) -> None:
    async def note_by_size(session: AsyncSession, fence: Fence, fact: DocumentUploaded) -> None:
        light = fact.size_bytes == 0
        await jobs.add(session, kind="some", subject=fact.subject, version=1, owner=fact.owner_id, light=light)

    work = SomeWork(held=True, light_concurrency=1)
    handling = a_handling(transactions, {DocumentUploaded: note_by_size}, workers=workers_of(work, transactions))
    large, small = uploaded(), [uploaded().model_copy(update={"size_bytes": 0}) for _ in range(2)]
    for fact in (large, *small, uploaded()):
        await handling.handle(record_of(fact))
    await until(lambda: len(work.runs) == 2)
    assert [job.subject for job in work.runs] == [large.subject, small[0].subject]
    async with transactions.begin() as session:
        waiting = list(await session.scalars(select(JobRow.light).where(JobRow.state == "waiting")))
    assert sorted(waiting) == [False, True]
    work.gate.set()
    await until(lambda: len(work.finished) == 2)


async def test_what_a_handler_noted_that_failed_is_not_begun(transactions: Transactions) -> None:
    work, tries = SomeWork(), iter([True, False])

    async def fail_once(session: AsyncSession, fence: Fence, fact: DocumentUploaded) -> None:
        await note(session, fence, fact)
        if next(tries):
            raise ValueError

    worker = Worker(work, transactions)
    handling = a_handling(transactions, {DocumentUploaded: fail_once}, workers=[worker])
    await handling.handle(record_of(uploaded()))
    await until(lambda: is_done(transactions))
    assert [job.attempt for job in work.finished] == [1], "the first transaction has left nothing"


async def test_an_older_version_heard_late_changes_nothing(transactions: Transactions) -> None:
    document, handling = uuid4(), a_handling(transactions)
    for version in (3, 1, 2):
        await handling.handle(record_of(uploaded(document, version=version)))
    async with transactions.begin() as session:
        assert list(await session.scalars(select(JobRow.version))) == [3]


async def test_an_upload_heard_after_its_deletion_makes_no_work(transactions: Transactions) -> None:
    document, handling = uuid4(), a_handling(transactions)
    await handling.handle(record_of(deleted(document)))
    await handling.handle(record_of(uploaded(document)))
    assert await count(transactions, JobRow) == 0
    fence = await the_fence(transactions, str(document))
    assert fence is not None
    assert fence.is_deleted


async def test_ready_may_come_before_anything_else(transactions: Transactions) -> None:
    document, handling = uuid4(), a_handling(transactions)
    await handling.handle(record_of(ready(document, version=2)))
    await handling.handle(record_of(uploaded(document, version=1)))
    assert await count(transactions, JobRow) == 0
    fence = await the_fence(transactions, str(document))
    assert fence is not None
    assert (fence.version, fence.live) == (2, 2)


async def test_a_new_round_is_answered_once(transactions: Transactions) -> None:
    document, handling = uuid4(), a_handling(transactions)
    async with transactions.begin() as session:
        fence = await fences.lock(session, document)
        fence.hear(1)
        fence.conclude(ready(document))
    for round_ in (0, 1, 1, 2, 2):
        await handling.handle(record_of(uploaded(document, round_=round_)))
    async with transactions.begin() as session:
        bodies = list(await session.scalars(select(OutboxRow.body).order_by(OutboxRow.id)))
    assert [Envelope.parse(body).fact() for body in bodies] == [ready(document, round_=1), ready(document, round_=2)]


async def test_facts_that_nobody_here_hears_cost_nothing(transactions: Transactions) -> None:
    handling = a_handling(transactions, {DocumentReady: hear_ready})
    fact = uploaded()
    await handling.handle(record_of(fact))
    assert await the_fence(transactions, fact.subject) is None


async def test_facts_that_pass_by_for_what_is_in_them_cost_nothing(transactions: Transactions) -> None:
    small = Subscription(
        DOCUMENTS,
        {DocumentUploaded: note},
        passes_by=lambda fact: isinstance(fact, DocumentUploaded) and fact.version < 2,
    )
    document, handling = uuid4(), Handling(small, transactions)
    await handling.handle(record_of(uploaded(document, version=1)))
    assert await the_fence(transactions, str(document)) is None
    await handling.handle(record_of(uploaded(document, version=2)))
    assert await count(transactions, JobRow) == 1


def test_a_subscription_to_what_is_said_elsewhere_is_refused() -> None:
    with pytest.raises(ValueError, match=r"document\.uploaded\.v1: not said on the topic users"):
        Subscription(USERS, {DocumentUploaded: note})


# poison


def _envelope(**changes: object) -> bytes:

    body = json.loads(record_of(uploaded()).value or b"")
    body.update(changes)
    return json.dumps(body).encode()


def _changed(**changes: object) -> bytes:
    data = json.loads(_envelope())["data"]
    return _envelope(data={**data, **changes})


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "record.empty"),
        (b"", "record.empty"),
        (b"\xff\xfe\x00", "record.unreadable"),
        (b"[]", "record.unreadable"),
        (b"{}", "record.unreadable"),
        (b"[" * 100_000, "record.unreadable"),
        (b"x" * 5_000_000, "record.unreadable"),
        (_envelope(type="document.uploaded.v9"), "record.unreadable"),
        (_envelope(data={}), "record.unreadable"),
        (_envelope(subject="somebody else"), "record.unreadable"),
        (_envelope(id="not an id"), "record.unreadable"),
        (_envelope(id="\0"), "record.unreadable"),
        (_changed(owner_id="\0"), "record.unreadable"),
        (_changed(round=2**31), "record.unreadable"),
        (_changed(version=2**31), "record.unreadable"),
        (_changed(size_bytes=2**63), "record.unreadable"),
    ],
    ids=[
        *("tombstone", "empty", "bytes", "array", "object", "deep", "5MB", "type", "fields", "subject", "id"),
        *("NUL as id", "NUL as owner"),
        *("round", "version", "size"),
    ],
)
async def test_poison_is_put_aside_once(transactions: Transactions, value: bytes | None, reason: str) -> None:
    handling = a_handling(transactions)
    for _ in range(2):
        await handling.handle(Record("documents", 3, 7, b"key", value))
    (letter,) = await dead(transactions)
    assert (letter.reason, letter.topic, letter.partition, letter.log_offset) == (reason, "documents", 3, 7)
    assert letter.size_bytes == len(value or b"")
    assert letter.value == (None if value is None else value[: 1024 * 1024])


async def test_what_is_said_of_a_record_never_keeps_it_from_being_put_aside(transactions: Transactions) -> None:
    async def refuse(session: AsyncSession, fence: Fence, fact: DocumentUploaded) -> None:
        raise Poison("record.odd", "it says \0 and \ud800")

    handling = Handling(Subscription(DOCUMENTS, {DocumentUploaded: refuse}), transactions)
    await handling.handle(record_of(uploaded()))
    (letter,) = await dead(transactions)
    assert (letter.reason, letter.detail) == ("record.odd", "it says   and \ufffd")


def raw(headers: list[tuple[str, str | bytes | None]], value: bytes) -> Message:
    return Message(topic="documents", partition=0, offset=1, key=b"key", value=value, headers=headers)


@pytest.mark.parametrize("header", [None, b"\xff\xfe"])
async def test_a_bad_header_is_poison(transactions: Transactions, header: bytes | None) -> None:
    value = record_of(uploaded()).value or b""
    await a_handling(transactions).handle(Record.of(raw([("content-type", header)], value)))
    (letter,) = await dead(transactions)
    assert letter.reason == "record.headers"
    assert await count(transactions, JobRow) == 0


def test_a_trace_is_taken_from_the_header_if_it_is_one() -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert Record.of(raw([("traceparent", trace.encode())], b"x")).traceparent == trace
    assert Record.of(raw([("traceparent", b"nonsense")], b"x")).traceparent is None


# several that have come together


class Notes:
    """Handlers that remember in which transaction each fact was noted, and fail for a subject if told to."""

    def __init__(self, *, fails_for: str = "") -> None:
        self.noted: list[tuple[str, int]] = []
        self.together: list[list[str]] = []
        self.fails_for = fails_for

    @property
    def subjects(self) -> list[str]:
        return [subject for subject, _ in self.noted]

    @property
    def transactions(self) -> int:
        return len({transaction for _, transaction in self.noted})

    async def one(self, session: AsyncSession, fence: Fence, fact: DocumentUploaded) -> None:
        await note(session, fence, fact)
        await self._remember(session, fact)

    async def several(self, session: AsyncSession, facts: Sequence[DocumentReady]) -> None:
        for fact in facts:
            (await fences.lock(session, fact.subject)).raise_live(fact.version)
            await self._remember(session, fact)
        self.together.append([fact.subject for fact in facts])

    async def _remember(self, session: AsyncSession, fact: DocumentFact) -> None:
        if fact.subject == self.fails_for:
            raise KeyError("a mistake of ours")
        self.noted.append((fact.subject, await session.scalar(select(func.txid_current())) or 0))


def noting(notes: Notes, transactions: Transactions, **options: Any) -> Handling:
    handlers = {DocumentUploaded: notes.one, DocumentReady: Together(notes.several)}
    return Handling(Subscription(DOCUMENTS, handlers, **options), transactions)


async def test_what_has_come_together_is_noted_in_one_transaction(transactions: Transactions) -> None:
    notes, facts = Notes(), [uploaded() for _ in range(5)]
    await noting(notes, transactions).handle(*map(record_of, facts))
    assert sorted(notes.subjects) == sorted(fact.subject for fact in facts)
    assert notes.transactions == 1
    assert await count(transactions, JobRow) == 5


async def test_what_is_wrong_with_one_is_nobody_elses(transactions: Transactions) -> None:
    facts = [uploaded() for _ in range(4)]
    notes = Notes(fails_for=facts[1].subject)
    poison = Record("documents", 0, 7, b"key", b"not json")
    await noting(notes, transactions).handle(record_of(facts[0]), poison, *map(record_of, facts[1:]))
    async with transactions.begin() as session:
        assert set(await session.scalars(select(JobRow.subject))) == {facts[n].subject for n in (0, 2, 3)}
    assert {letter.reason for letter in await dead(transactions)} == {"record.unreadable", "handler.failed"}
    assert await the_fence(transactions, facts[1].subject) is None


async def test_facts_about_one_subject_are_noted_in_the_order_in_which_they_were_said(
    transactions: Transactions,
) -> None:
    document = uuid4()
    facts = [uploaded(document, version=version) for version in (1, 2, 3)]
    await a_handling(transactions).handle(*map(record_of, facts), record_of(deleted(document)))
    fence = await the_fence(transactions, str(document))
    assert fence is not None
    assert fence.version == 3
    assert fence.is_deleted
    async with transactions.begin() as session:
        assert set(await session.scalars(select(JobRow.state))) == {"cancelled"}


async def test_a_handler_of_several_gets_those_of_one_turn_at_once(transactions: Transactions) -> None:
    first, second, third = (ready(uuid4(), version=version) for version in (1, 2, 3))
    notes = Notes()
    handling = noting(notes, transactions, turn=lambda fact: str(getattr(fact, "version", 0) == 2))
    await handling.handle(*map(record_of, (first, second, third)))
    await handling.handle(record_of(second))
    assert notes.together == [[first.subject, third.subject], [second.subject], [second.subject]]
    assert notes.transactions == 2


async def test_whoever_handles_the_same_in_another_order_is_not_waited_for_in_a_circle(
    transactions: Transactions,
) -> None:
    handling = a_handling(transactions)
    with structlog.testing.capture_logs() as logs:
        for _ in range(5):
            known, new = uploaded(), [uploaded() for _ in range(9)]
            await handling.handle(record_of(known))
            records = [record_of(fact) for fact in (*new, known)]
            await asyncio.gather(*(handling.handle(*records[:: 1 if n % 2 else -1]) for n in range(6)))
    assert [line for line in logs if line["log_level"] != "info"] == [], "a deadlock is a warning, and a second try"
    assert await count(transactions, JobRow) == 50


# handlers that fail, databases that go


async def test_a_handler_that_keeps_failing_puts_the_record_aside(transactions: Transactions) -> None:
    tries = []

    async def fails(session: AsyncSession, fence: Fence, fact: DocumentUploaded) -> None:
        tries.append(fact)
        fence.hear(9)
        raise KeyError("a mistake of ours")

    fact = uploaded()
    await a_handling(transactions, {DocumentUploaded: fails}).handle(record_of(fact))
    (letter,) = await dead(transactions)
    assert (letter.reason, letter.detail) == ("handler.failed", "KeyError")
    assert len(tries) == 3
    assert await the_fence(transactions, fact.subject) is None, "what it did was rolled back"


async def test_a_handler_that_fails_once_is_tried_again(transactions: Transactions) -> None:
    failures = iter([KeyError("once")])

    async def fails_once(session: AsyncSession, fence: Fence, fact: DocumentUploaded) -> None:
        if (failure := next(failures, None)) is not None:
            raise failure
        await note(session, fence, fact)

    await a_handling(transactions, {DocumentUploaded: fails_once}).handle(record_of(uploaded()))
    assert await dead(transactions) == []
    assert await count(transactions, JobRow) == 1


class Away(Exception):
    sqlstate = "57P01"  # admin_shutdown


class Slow(Exception):
    sqlstate = "57014"  # query_canceled


def failing(error: Exception, times: int) -> Callable[[AsyncSession, Fence, Any], Any]:
    left = iter(range(times))

    async def handler(session: AsyncSession, fence: Fence, fact: DocumentUploaded) -> None:
        if next(left, None) is not None:
            raise DBAPIError("SELECT", None, error)
        await note(session, fence, fact)

    return handler


async def test_while_the_database_is_away_the_handler_waits(transactions: Transactions) -> None:
    handling = a_handling(transactions, {DocumentUploaded: failing(Away(), 4)})
    await handling.handle(record_of(uploaded()))
    assert await dead(transactions) == []
    assert await count(transactions, JobRow) == 1
    assert not handling.waiting


async def test_a_statement_that_always_takes_too_long_is_the_handlers_own_fault(transactions: Transactions) -> None:
    await a_handling(transactions, {DocumentUploaded: failing(Slow(), 100)}).handle(record_of(uploaded()))
    (letter,) = await dead(transactions)
    assert letter.reason == "handler.failed"


async def test_a_database_that_stays_away_ends_the_process_and_acknowledges_nothing() -> None:
    engine = create_engine("postgresql+asyncpg://nobody@127.0.0.1:1/nothing")
    ended: list[str] = []
    handling = a_handling(Transactions(engine, create_sessions(engine)), end=ended.append, patience=0.1)
    handled = asyncio.create_task(handling.handle(record_of(uploaded())))
    await until(lambda: bool(ended))
    assert handling.waiting
    assert ended == ["the database has been away for 0.1 s"]
    assert not handled.done(), "it never returns to the consumer"
    handled.cancel()
    await engine.dispose()
