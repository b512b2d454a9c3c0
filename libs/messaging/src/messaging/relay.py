"""Sending what was said: unsent rows in order, in batches, and each at least once."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

import asyncpg
import structlog
from chassis import metrics
from chassis.database import DATABASE_ERRORS, is_transient
from chassis.telemetry import span
from chassis.transactions import Driver, Transactions, driver_of
from confluent_kafka import KafkaException
from contracts.facts import FACTS
from sqlalchemy.ext.asyncio import AsyncSession

from messaging import dead_letters
from messaging.broker_memory import BrokerMemory
from messaging.producing import Outcome, Outgoing, Producer, Refused, Sent

BATCH = 500  # facts of a few hundred bytes: a fraction of a request to the broker
PATIENCE = 0.02  # seconds for what can wait; what is said meanwhile takes it along
LOOK_EVERY = 1.0  # a notification can be missed
RETRY_AFTER = (0.1, 0.2, 0.5, 1.0)
REMEMBERED = 1000  # the last rows sent: enough to know where each busy partition was

# Two relays keep order because the second one waits for the rows of the first, and then finds them sent.
_UNSENT = """
    SELECT id, topic, subject, body, traceparent, type FROM outbox WHERE sent_at IS NULL AND subject <> ALL($2)
    ORDER BY id LIMIT $1 FOR UPDATE
"""

# Nobody waits for the disk here: marks that a crash of the database takes back are facts that are sent once more.
_MARK = """
    WITH lazily AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
    UPDATE outbox SET sent_at = clock_timestamp(), sent_partition = sent.partition, sent_offset = sent.log_offset
    FROM lazily, unnest($1::bigint[], $2::int[], $3::bigint[]) AS sent(id, partition, log_offset)
    WHERE outbox.id = sent.id
"""

# Done with, but nowhere: without a partition it is never taken for something that was sent.
_BURY = "UPDATE outbox SET sent_at = now() WHERE id = $1"

# Where anything was in a log that is no more says nothing any more: remembered, it would contradict the new one.
# What is kept is said again, as far back as the topics keep their records.
_UNSEND = """
    WITH gone AS (
        UPDATE outbox SET sent_partition = NULL, sent_offset = NULL,
            sent_at = CASE WHEN kept AND sent_at > now() - interval '7 days' THEN NULL ELSE sent_at END
        WHERE topic = ANY($1) AND sent_partition IS NOT NULL
        RETURNING sent_at IS NULL AS is_said_again
    )
    SELECT count(*) FROM gone WHERE is_said_again
"""

_REMEMBER = """
    SELECT topic, sent_partition AS partition, max(sent_offset) AS log_offset
    FROM (SELECT topic, sent_partition, sent_offset FROM outbox
          WHERE sent_partition IS NOT NULL ORDER BY id DESC LIMIT $1) AS newest
    GROUP BY topic, sent_partition
"""

log = structlog.stdlib.get_logger(__name__)

_Row: TypeAlias = "asyncpg.Record"


class NotTaken(Exception):
    """The broker did not take all records."""

    def __init__(self) -> None:
        super().__init__("the broker did not take all records")


WipedHook = Callable[[], Awaitable[None]]


class Relay:
    """Sends until it is cancelled, whenever it is told that there is something."""

    def __init__(
        self,
        transactions: Transactions,
        producer: Producer,
        memory: BrokerMemory,
        *,
        on_wiped: WipedHook | None = None,
        on_trouble: Callable[[], None] = lambda: None,
    ) -> None:
        self._transactions = transactions
        self._producer = producer
        self._memory = memory
        self._woken = asyncio.Event()
        self._on_wiped = on_wiped
        self._on_trouble = on_trouble
        self._lost: set[str] = set()

    async def run(self) -> None:
        failures = 0
        while True:
            try:
                await self._remember()
                while True:
                    await self._look()
                    failures = 0
            except (KafkaException, NotTaken) as error:
                log.warning("the broker is away, facts wait", error=str(error))
                self._on_trouble()
            except (*DATABASE_ERRORS, OSError, TimeoutError) as error:
                if not is_transient(error):
                    log.exception("sending failed")
                await self._producer.stop()
            await asyncio.sleep(RETRY_AFTER[min(failures, len(RETRY_AFTER) - 1)])
            failures += 1

    async def drain(self) -> None:
        """Send what is unsent now. What the broker does not take holds up what is said about the same subject alone.

        Raises `NotTaken` if there was any of that, `KafkaException` while the broker is away, and what the database
        raises.
        """
        held: set[str] = set()
        while await self._send_batch(held) == BATCH:
            pass
        if held:
            raise NotTaken

    async def _send_batch(self, held: set[str]) -> int:
        """Send one batch in one transaction; gives how many rows were waiting, up to the size of a batch.

        What is about `held` subjects is left aside, and those are added of which something was not taken.
        """
        await self._producer.connect()  # not while the transaction is open: that may take its time
        if self._lost:
            await self._start_again()
        wiped: set[str] = set()
        async with self._transactions.begin() as session:
            driver = await driver_of(session)
            rows = await driver.fetch(_UNSENT, BATCH, list(held))
            if not rows:
                return 0
            with span("send facts", facts=len(rows)):
                outcomes = _in_order(rows, await self._producer.send([_outgoing(row) for row in rows]))
                sent = [outcome for outcome in outcomes if isinstance(outcome, Sent)]
                wiped = {
                    each.topic for each in sent if self._memory.contradicts(each.topic, each.partition, each.offset)
                }
                again = await _unsend_kept(driver, wiped)
                await _mark(driver, sent)
                await _bury(session, rows, [outcome for outcome in outcomes if isinstance(outcome, Refused)])
        for topic in wiped:
            self._memory.forget(topic)
        self._note(rows, outcomes)
        if wiped:
            await self._tell_wiped(wiped, again)
        held |= {row["subject"] for row, outcome in zip(rows, outcomes, strict=True) if outcome is None}
        return len(rows)

    def said(self, type_: str | None) -> None:
        """A fact of this type waits to be sent; None if anything may."""
        fact = None if type_ is None else FACTS.get(type_)
        if fact is not None and fact.can_wait:
            asyncio.get_running_loop().call_later(PATIENCE, self._woken.set)
        else:
            self._woken.set()

    def broker_lost(self, topic: str) -> None:
        """The broker has a new, shorter log for this topic: say again what nobody would ask for."""
        self._memory.forget(topic)
        self._lost.add(topic)
        self._woken.set()

    async def _look(self) -> None:
        self._woken.clear()
        await self.drain()
        await self._rest(LOOK_EVERY)

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            pass

    async def _remember(self) -> None:
        async with self._transactions.driver() as driver:
            for topic, partition, offset in await driver.fetch(_REMEMBER, REMEMBERED):
                self._memory.given(topic, partition, offset)

    def _note(self, rows: Sequence[_Row], outcomes: Sequence[Outcome]) -> None:
        for row, outcome in zip(rows, outcomes, strict=True):
            if isinstance(outcome, Sent):
                self._memory.given(outcome.topic, outcome.partition, outcome.offset)
                metrics.OUTBOX_SENT.labels(row["type"]).inc()
            elif isinstance(outcome, Refused):
                metrics.DEAD_LETTERS.labels(dead_letters.REFUSED).inc()
                log.error("the broker refused a fact", type=row["type"], subject=row["subject"], error=outcome.reason)

    async def _start_again(self) -> None:
        lost = set(self._lost)
        async with self._transactions.driver() as driver:
            again = await _unsend_kept(driver, lost)
        for topic in lost:  # whose places may have been read again meanwhile
            self._memory.forget(topic)
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
    return Outgoing(
        id=row["id"],
        topic=row["topic"],
        type=row["type"],
        key=row["subject"].encode(),
        value=row["body"],
        traceparent=row["traceparent"],
    )


def _in_order(rows: Sequence[_Row], outcomes: Sequence[Outcome]) -> list[Outcome]:
    """What follows an unsent fact about the same subject counts as unsent, too: it is sent again behind it."""
    held: set[tuple[str, str]] = set()
    kept: list[Outcome] = []
    for row, outcome in zip(rows, outcomes, strict=True):
        about = row["topic"], row["subject"]
        if outcome is None:
            held.add(about)
        kept.append(None if about in held and isinstance(outcome, Sent) else outcome)
    return kept


async def _mark(driver: Driver, sent: Sequence[Sent]) -> None:
    if sent:
        places = [each.partition for each in sent], [each.offset for each in sent]
        await driver.execute(_MARK, [each.id for each in sent], *places)


async def _bury(session: AsyncSession, rows: Sequence[_Row], refused: Sequence[Refused]) -> None:
    by_id = {row["id"]: row for row in rows}
    for each in refused:
        session.add(dead_letters.of_outbox(by_id[each.id], each.reason))
        await (await driver_of(session)).execute(_BURY, each.id)


async def _unsend_kept(driver: Driver, topics: set[str]) -> int:
    return int(await driver.fetchval(_UNSEND, list(topics))) if topics else 0
