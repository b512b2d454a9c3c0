"""Handling records: a transaction with the fences locked first, or a dead letter. Each ends in one of them.

Those that have come together share a transaction. If it fails, each gets one of its own: what is wrong with one of them
is nobody else's.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import TypeVar

import structlog
from chassis import metrics
from chassis.failures import Failure, Poison
from chassis.process import End, end_process
from chassis.telemetry import continue_trace, span
from chassis.transactions import Transactions
from contracts.facts import FACTS, Fact
from sqlalchemy.ext.asyncio import AsyncSession

from messaging import dead_letters, fences
from messaging.fences import Fence
from messaging.fencing import version_of
from messaging.records import Heard, Record, read
from messaging.repeating import is_away, repeat_while_away
from messaging.subscribing import Handler, Subscription, Together
from messaging.waking import woken_by
from messaging.working import Begun, Worker

TRIES = 3  # of a handler that fails for a reason of its own; then the record is put aside
PATIENCE = 240.0  # seconds without the own database; below max_poll_interval, at which the partition would be lost
PAUSES = (0.05, 0.2)  # seconds between them

T = TypeVar("T")

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True)
class _Note:
    """A record of which something is to be noted."""

    record: Record
    heard: Heard
    handler: Handler | Together

    @property
    def fact(self) -> Fact:
        return self.heard.fact

    @property
    def ids(self) -> dict[str, str]:
        return {self.fact.topic.key: self.fact.subject, "event_id": str(self.heard.event_id)}

    @contextmanager
    def context(self) -> Iterator[None]:
        """What is logged within is about this fact."""
        with continue_trace(self.heard.traceparent), structlog.contextvars.bound_contextvars(**self.ids):
            yield

    @contextmanager
    def traced(self) -> Iterator[None]:
        """What is said within follows from this fact."""
        with self.context(), span(f"hear {self.fact.type}", **self.ids):
            yield

    def is_done(self) -> None:
        metrics.FACTS_HEARD.labels(self.fact.type, "handled").inc()
        log.info("a fact was heard", type=self.fact.type)


class Handling:
    """Handles the records of one subscription."""

    def __init__(
        self,
        subscription: Subscription,
        transactions: Transactions,
        *,
        workers: Collection[Worker] = (),
        end: End = end_process,
        patience: float = PATIENCE,
    ) -> None:
        self._handlers = dict(subscription.handlers)
        self._unhurried = frozenset(subscription.unhurried)
        self._passes_by = subscription.passes_by
        self._turn = subscription.turn
        self._transactions = transactions
        self._workers = workers
        self._end = end
        self._patience = patience
        self.waiting = False

    def passes_by(self, type_: str | None) -> bool:
        """Whether a fact of this type is none that is heard here: then there is nothing to handle."""
        fact = FACTS.get(type_ or "")
        return fact is not None and fact not in self._handlers

    def is_unhurried(self, type_: str | None) -> bool:
        """Whether nobody waits for what is noted of a fact of this type."""
        return FACTS.get(type_ or "") in self._unhurried

    async def handle(self, *records: Record) -> None:
        """Returns when they may be acknowledged."""
        notes = [note for record in records if (note := await self._look_at(record)) is not None]
        if len(notes) > 1 and await self._note_together(notes):
            return
        for note in notes:
            with note.context():
                await self._note_alone(note)

    async def replay(self, session: AsyncSession, record: Record) -> None:
        """Handle the record in this session's transaction. Raises whatever the handler raises, and `Poison`."""
        heard = read(record)
        handler = self._handlers.get(type(heard.fact))
        if handler is not None and not self._passes_by(heard.fact):
            await _note(session, [_Note(record, heard, handler)])

    async def _look_at(self, record: Record) -> "_Note | None":
        """What is to be noted of it, if anything."""
        try:
            heard = read(record)
        except Poison as poison:
            await self._bury(record, poison)
            return None
        handler = self._handlers.get(type(heard.fact))
        if handler is None or self._passes_by(heard.fact):
            return None
        return _Note(record, heard, handler)

    async def _note_together(self, notes: "Sequence[_Note]") -> bool:
        """All in one transaction; False if that failed, and left nothing."""
        in_turn = sorted(notes, key=lambda note: self._turn(note.fact))
        try:
            await self._with_database(lambda: self._transaction(in_turn))
        except Exception as error:
            log.warning("facts are noted one by one", facts=len(notes), error=type(error).__name__)
            return False
        for note in notes:
            with note.context():
                note.is_done()
        return True

    async def _note_alone(self, note: "_Note") -> None:
        for tries in range(1, TRIES + 1):
            try:
                await self._with_database(lambda: self._transaction([note]))
            except Exception as error:
                metrics.FACTS_HEARD.labels(note.fact.type, "error").inc()
                log.exception("a handler failed", type=note.fact.type, tries=tries)
                if tries == TRIES:
                    await self._bury(note.record, _failure_of(error))
                    return
                await asyncio.sleep(PAUSES[tries - 1])
            else:
                note.is_done()
                return

    async def _transaction(self, notes: "Sequence[_Note]") -> None:
        begun: list[Begun] = []
        try:
            async with self._transactions.begin() as session:
                await _lock_fences(session, [note.fact for note in notes])
                for _, some in groupby(notes, key=lambda note: (self._turn(note.fact), note.handler)):
                    await _note(session, list(some))
                await self._begin_noted(session, begun)
        except BaseException:
            for each in begun:
                each.forget()
            raise
        for each in begun:
            each.go()

    async def _begin_noted(self, session: AsyncSession, begun: list[Begun]) -> None:
        """What was noted here begins with the commit."""
        for kind in woken_by(session):
            for worker in [each for each in self._workers if each.kind == kind]:
                begun.append(await worker.take_within(session))
                if begun[-1].has_room:  # nothing is left for places that are kept for light jobs
                    break

    async def _bury(self, record: Record, failure: Failure) -> None:
        async def transaction() -> bool:
            async with self._transactions.begin() as session:
                return await dead_letters.bury(session, record, failure)

        if await self._with_database(transaction):
            metrics.DEAD_LETTERS.labels(failure.code).inc()
            log.error(
                "a record was put aside",
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                reason=failure.code,
                detail=failure.detail,
            )

    async def _with_database(self, transaction: Callable[[], Awaitable[T]]) -> T:
        try:
            return await repeat_while_away(transaction, patience=self._patience, on_away=self._wait)
        except Exception as error:
            if not is_away(error):
                raise
            self._end(f"the database has been away for {self._patience:g} s")
            return await asyncio.Future[T]()  # never back to the consumer, which would go on to the next record
        finally:
            self.waiting = False

    def _wait(self) -> None:
        self.waiting = True


async def _lock_fences(session: AsyncSession, facts: Sequence[Fact]) -> None:
    """Of several, all before the first is handled."""
    if len(facts) > 1:
        heard = {fact.subject: version_of(fact) for fact in facts}
        await fences.lock_many(session, heard, heard=heard)


async def _note(session: AsyncSession, notes: "Sequence[_Note]") -> None:
    """Have these noted, all of one turn and by one handler."""
    handler = notes[0].handler
    if isinstance(handler, Together):
        with notes[0].traced() if len(notes) == 1 else span("hear several", facts=len(notes)):
            await handler.note(session, [note.fact for note in notes])
        return
    for note in notes:
        with note.traced():
            await handler(session, await _fence_of(session, note.fact), note.fact)


async def _fence_of(session: AsyncSession, fact: Fact) -> Fence:
    return await fences.lock(session, fact.subject, heard=version_of(fact))


def _failure_of(error: Exception) -> Failure:
    if isinstance(error, Failure):
        return error
    return Poison("handler.failed", type(error).__name__)
