"""Handling one record: one transaction with its fence locked first, or a dead letter. It always ends in one of them."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import structlog
from chassis import metrics
from chassis.failures import Failure, Poison
from chassis.process import End, end_process
from chassis.telemetry import continue_trace, span
from chassis.transactions import Transactions
from contracts.facts import Fact
from sqlalchemy.ext.asyncio import AsyncSession

from messaging import dead_letters, fences
from messaging.fences import Fence
from messaging.records import Heard, Record, read
from messaging.repeating import is_away, repeat_while_away
from messaging.subscribing import Handler, Subscription
from messaging.waking import woken_by
from messaging.working import Begun, Worker

TRIES = 3  # of a handler that fails for a reason of its own; then the record is put aside
PATIENCE = 240.0  # seconds without the own database; below max_poll_interval, at which the partition would be lost
PAUSES = (0.05, 0.2)  # seconds between them

T = TypeVar("T")

log = structlog.stdlib.get_logger(__name__)


class Handling:
    """Handles the records of one subscription."""

    def __init__(
        self,
        subscription: Subscription,
        transactions: Transactions,
        *,
        workers: Mapping[str, Worker] | None = None,
        end: End = end_process,
        patience: float = PATIENCE,
    ) -> None:
        self._handlers: dict[type[Fact], Handler] = dict(subscription.handlers)
        self._passes_by = subscription.passes_by
        self._transactions = transactions
        self._workers = {} if workers is None else workers
        self._end = end
        self._patience = patience
        self.waiting = False

    async def handle(self, record: Record) -> None:
        """Returns when the record may be acknowledged."""
        try:
            heard = read(record)
        except Poison as poison:
            await self._bury(record, poison)
            return
        handler = self._handlers.get(type(heard.fact))
        if handler is None or self._passes_by(heard.fact):
            return
        ids = {heard.fact.topic.key: heard.fact.subject, "event_id": str(heard.event_id)}
        with (
            continue_trace(heard.traceparent),
            structlog.contextvars.bound_contextvars(**ids),
            span(f"hear {heard.fact.type}", **ids),
        ):
            await self._apply(handler, heard, record)

    async def replay(self, session: AsyncSession, record: Record) -> None:
        """Handle the record in this session's transaction. Raises whatever the handler raises, and `Poison`."""
        heard = read(record)
        handler = self._handlers.get(type(heard.fact))
        if handler is not None:
            with continue_trace(heard.traceparent):
                await handler(session, await _fence_of(session, heard.fact), heard.fact)

    async def _apply(self, handler: Handler, heard: Heard, record: Record) -> None:
        for tries in range(1, TRIES + 1):
            try:
                await self._with_database(lambda: self._transaction(handler, heard.fact))
            except Exception as error:
                metrics.FACTS_HEARD.labels(heard.fact.type, "error").inc()
                log.exception("a handler failed", type=heard.fact.type, tries=tries)
                if tries == TRIES:
                    await self._bury(record, _failure_of(error))
                    return
                await asyncio.sleep(PAUSES[tries - 1])
            else:
                metrics.FACTS_HEARD.labels(heard.fact.type, "handled").inc()
                log.info("a fact was heard", type=heard.fact.type)
                return

    async def _transaction(self, handler: Handler, fact: Fact) -> None:
        begun: list[Begun] = []
        try:
            async with self._transactions.begin() as session:
                await handler(session, await _fence_of(session, fact), fact)
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
            if (worker := self._workers.get(kind)) is not None:
                begun.append(await worker.take_within(session))

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


async def _fence_of(session: AsyncSession, fact: Fact) -> Fence:
    """Locked; facts about accounts and indexes have no version."""
    return await fences.lock(session, fact.subject, heard=getattr(fact, "version", 0))


def _failure_of(error: Exception) -> Failure:
    if isinstance(error, Failure):
        return error
    return Poison("handler.failed", type(error).__name__)
