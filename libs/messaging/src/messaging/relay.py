"""Sending what was said: unsent rows in order, in batches, and each at least once."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog
from aiokafka.errors import KafkaError
from chassis import metrics
from chassis.database import is_transient
from sqlalchemy import BigInteger, Integer, bindparam, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from messaging import dead_letters
from messaging.broker_memory import BrokerMemory
from messaging.producing import Outcome, Outgoing, Producer, Refused, Sent
from messaging.tables import DeadLetter, OutboxRow

BATCH = 500  # facts of a few hundred bytes: a fraction of a request to the broker
LOOK_EVERY = 1.0  # a notification can be missed
RETRY_AFTER = (0.1, 0.2, 0.5, 1.0)
KEPT = "7 days"  # the retention of the topics
REMEMBERED = 1000  # the last rows sent: enough to know where each busy partition was

# Two relays keep order because the second one waits for the rows of the first, and then finds them sent.
_UNSENT = (
    select(OutboxRow.id, OutboxRow.topic, OutboxRow.subject, OutboxRow.body, OutboxRow.traceparent, OutboxRow.type)
    .where(OutboxRow.sent_at.is_(None))
    .order_by(OutboxRow.id)
    .limit(BATCH)
    .with_for_update()
)

_MARK = text("""
    UPDATE outbox SET sent_at = clock_timestamp(), sent_partition = sent.partition, sent_offset = sent.log_offset
    FROM unnest(:ids, :partitions, :offsets) AS sent(id, partition, log_offset) WHERE outbox.id = sent.id
""").bindparams(
    bindparam("ids", type_=ARRAY(BigInteger)),
    bindparam("partitions", type_=ARRAY(Integer)),
    bindparam("offsets", type_=ARRAY(BigInteger)),
)

_REMEMBER = text("""
    SELECT topic, sent_partition, max(sent_offset)
    FROM (SELECT topic, sent_partition, sent_offset FROM outbox
          WHERE sent_partition IS NOT NULL ORDER BY id DESC LIMIT :rows) AS newest
    GROUP BY topic, sent_partition
""")

log = structlog.stdlib.get_logger(__name__)

_Row = Any  # of _UNSENT: id, topic, subject, body, traceparent, type

WipedHook = Callable[[], Awaitable[None]]


class Relay:
    """Sends until it is cancelled. `woken` is set by the listener, and by whoever wants it to look."""

    def __init__(
        self,
        engine: AsyncEngine,
        producer: Producer,
        memory: BrokerMemory,
        *,
        woken: asyncio.Event,
        on_wiped: WipedHook | None = None,
        on_trouble: Callable[[], None] = lambda: None,
    ) -> None:
        self._engine = engine
        self._producer = producer
        self._memory = memory
        self._woken = woken
        self._on_wiped = on_wiped
        self._on_trouble = on_trouble
        self._lost: set[str] = set()

    async def run(self) -> None:
        failures = 0
        while True:
            try:
                async with self._engine.connect() as connection:
                    await self._remember(connection)
                    while True:
                        await self._look(connection)
                        failures = 0
            except (KafkaError, OSError, TimeoutError) as error:
                log.warning("the broker is away, facts wait", error=type(error).__name__)
                self._on_trouble()
            except SQLAlchemyError as error:
                if not is_transient(error):
                    log.exception("sending failed")
                await self._producer.stop()
            await asyncio.sleep(RETRY_AFTER[min(failures, len(RETRY_AFTER) - 1)])
            failures += 1

    async def drain(self) -> None:
        """Send what is unsent now, once."""
        async with self._engine.connect() as connection:
            while await self.send_batch(connection) == BATCH:
                pass

    async def send_batch(self, connection: AsyncConnection) -> int:
        """Send one batch in one transaction; gives how many rows were waiting, up to the size of a batch."""
        await self._producer.connect()  # not while the transaction is open: that may take its time
        if self._lost:
            await self._start_again(connection)
        wiped: set[str] = set()
        async with connection.begin():
            rows = (await connection.execute(_UNSENT)).all()
            if not rows:
                return 0
            outcomes = _in_order(rows, await self._producer.send([_outgoing(row) for row in rows]))
            sent = [outcome for outcome in outcomes if isinstance(outcome, Sent)]
            wiped = {each.topic for each in sent if self._memory.contradicts(each.topic, each.partition, each.offset)}
            again = await _unsend_kept(connection, wiped)
            await _mark(connection, sent)
            await _bury(connection, [outcome for outcome in outcomes if isinstance(outcome, Refused)])
        for topic in wiped:
            self._memory.forget(topic)
        self._note(rows, outcomes)
        if wiped:
            await self._tell_wiped(wiped, again)
        if any(outcome is None for outcome in outcomes):
            raise TimeoutError("the broker did not take all records")
        return len(rows)

    def broker_lost(self, topic: str) -> None:
        """The broker has a new, shorter log for this topic: say again what nobody would ask for."""
        self._memory.forget(topic)
        self._lost.add(topic)
        self._woken.set()

    async def _look(self, connection: AsyncConnection) -> None:
        self._woken.clear()
        while await self.send_batch(connection) == BATCH:
            pass
        await self._rest(LOOK_EVERY)

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            pass

    async def _remember(self, connection: AsyncConnection) -> None:
        async with connection.begin():
            for topic, partition, offset in await connection.execute(_REMEMBER, {"rows": REMEMBERED}):
                self._memory.given(topic, partition, offset)

    def _note(self, rows: Sequence[_Row], outcomes: Sequence[Outcome]) -> None:
        for row, outcome in zip(rows, outcomes, strict=True):
            if isinstance(outcome, Sent):
                self._memory.given(outcome.topic, outcome.partition, outcome.offset)
                metrics.OUTBOX_SENT.labels(row.type).inc()
            elif isinstance(outcome, Refused):
                metrics.DEAD_LETTERS.labels("refused").inc()
                log.error("the broker refused a fact", type=row.type, subject=row.subject, error=outcome.reason)

    async def _start_again(self, connection: AsyncConnection) -> None:
        lost = set(self._lost)
        async with connection.begin():
            again = await _unsend_kept(connection, lost)
        self._lost -= lost
        await self._tell_wiped(lost, again)

    async def _tell_wiped(self, topics: set[str], again: int) -> None:
        tell = log.warning if again else log.info
        tell("topics are new, or have lost their records", topics=sorted(topics), said_again=again)
        self._woken.set()
        if self._on_wiped is not None:
            try:
                await self._on_wiped()
            except Exception:
                log.exception("what follows a wiped broker failed")


def _outgoing(row: _Row) -> Outgoing:
    return Outgoing(row.id, row.topic, row.subject.encode(), row.body, row.traceparent)


def _in_order(rows: Sequence[_Row], outcomes: Sequence[Outcome]) -> list[Outcome]:
    """What follows an unsent fact about the same subject counts as unsent, too: it is sent again behind it."""
    held: set[tuple[str, str]] = set()
    kept: list[Outcome] = []
    for row, outcome in zip(rows, outcomes, strict=True):
        if outcome is None:
            held.add((row.topic, row.subject))
        kept.append(None if (row.topic, row.subject) in held and isinstance(outcome, Sent) else outcome)
    return kept


async def _mark(connection: AsyncConnection, sent: Sequence[Sent]) -> None:
    if sent:
        await connection.execute(
            _MARK,
            {
                "ids": [each.id for each in sent],
                "partitions": [each.partition for each in sent],
                "offsets": [each.offset for each in sent],
            },
        )


async def _bury(connection: AsyncConnection, refused: Sequence[Refused]) -> None:
    for each in refused:
        row = (await connection.execute(select(OutboxRow.__table__).where(OutboxRow.id == each.id))).one()
        await connection.execute(insert(DeadLetter).values(dead_letters.of_outbox(row, each.reason)))
        # Done with, but nowhere: without a partition it is never taken for something that was sent.
        await connection.execute(update(OutboxRow).where(OutboxRow.id == each.id).values(sent_at=func.now()))


async def _unsend_kept(connection: AsyncConnection, topics: set[str]) -> int:
    if not topics:
        return 0
    result = await connection.execute(
        update(OutboxRow)
        .where(
            OutboxRow.kept,
            OutboxRow.topic.in_(topics),
            OutboxRow.sent_partition.is_not(None),
            OutboxRow.sent_at > func.now() - text(f"interval '{KEPT}'"),
        )
        .values(sent_at=None, sent_partition=None, sent_offset=None)
    )
    return result.rowcount
