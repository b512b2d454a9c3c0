"""Sending to the broker: in order within a partition, and never for long."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import confluent_kafka
import structlog
from confluent_kafka import KafkaError, KafkaException, Message
from contracts.envelope import CONTENT_TYPE, TYPE_HEADER

from messaging.asking import metadata
from messaging.broker_access import FORLORN_SECONDS, BrokerAccess
from messaging.letting_go import let_go

SEND_SECONDS = 5.0
ONE_SECONDS = 1.0
ONE_BY_ONE_SECONDS = 2.0  # what is left over then is sent another time

REFUSALS = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.TOPIC_EXCEPTION,
        KafkaError.INVALID_RECORD,
        KafkaError._INVALID_ARG,
    }
)
"""What no later attempt can mend: the broker, or the client on its behalf, will never take this record."""

SETTINGS = {
    "acks": "all",
    "linger.ms": 0,
    # A record that was not acknowledged within this time is given up, so that no copy of it lies in wait.
    "message.timeout.ms": round(SEND_SECONDS * 1000 * 0.8),
    "request.timeout.ms": round(SEND_SECONDS * 1000 * 0.8),
    # Whoever sends again knows what was said after it; the client would put it behind that.
    "message.send.max.retries": 0,
    "enable.idempotence": False,
    # As Java's clients do it, and so did every release of ours: a subject stays in its partition.
    "partitioner": "murmur2_random",
    "topic.metadata.propagation.max.ms": 0,  # a topic that is not there is missing now
}

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True)
class Outgoing:
    """A record on its way; `id` is the outbox row's."""

    id: int
    topic: str
    type: str
    key: bytes
    value: bytes
    traceparent: str | None


@dataclass(frozen=True)
class Sent:
    """The broker has it, there."""

    id: int
    topic: str
    partition: int
    offset: int


@dataclass(frozen=True)
class Refused:
    """The broker will never have it."""

    id: int
    reason: str


Outcome = Sent | Refused | None
"""None: not sent this time."""


class Producer:
    """One connection to the broker, made again whenever something went wrong on it.

    It is not an idempotent producer: an event that arrives twice is harmless to everybody, and the states from which
    an idempotent producer never recovers are not. Order is kept without it: nothing is sent again behind our back.
    """

    def __init__(self, kafka: BrokerAccess) -> None:
        self._kafka = kafka
        self._producer: confluent_kafka.Producer | None = None
        self._answers = False
        self._made_at = 0.0

    async def connect(self) -> None:
        """Make sure of a connection. Raises `KafkaException` while the broker is away; the client goes on trying."""
        now = asyncio.get_running_loop().time()
        if self._producer is None:
            self._producer = confluent_kafka.Producer({**self._kafka.options(), **SETTINGS})
            self._answers, self._made_at = False, now
        if not self._answers:
            try:
                await metadata(self._producer, within=0)
            except KafkaException:
                if now - self._made_at > FORLORN_SECONDS:
                    await self.stop()
                raise
            self._answers = True
        self._producer.poll(0)  # while nothing is sent, this alone lets it tell of its troubles

    async def send(self, records: Sequence[Outgoing]) -> list[Outcome]:
        """Send them, those about a subject in the order given. Gives what became of each, in the order of all."""
        outcomes = await self._send_within(records, SEND_SECONDS)
        if len(records) > 1 and any(isinstance(outcome, Refused) for outcome in outcomes):
            return await self._send_one_by_one(records, outcomes)
        return outcomes

    async def stop(self) -> None:
        """What is not sent yet is dropped with the client, or has been given up by it before: the outbox has it."""
        if self._producer is not None:
            producer, self._producer = self._producer, None
            let_go(producer)

    async def _send_one_by_one(self, records: Sequence[Outgoing], outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Records share batches, and a batch is refused as one: find out whose fault it was.

        What follows one that was not to blame, about the same subject, is sent again behind it.
        """
        clock = asyncio.get_running_loop().time
        until, again, known = clock() + ONE_BY_ONE_SECONDS, set[tuple[str, bytes]](), list(outcomes)
        for place, record in enumerate(records):
            about = record.topic, record.key
            if isinstance(known[place], Refused) or about in again:
                known[place] = (await self._send_within([record], ONE_SECONDS))[0] if clock() < until else None
                if not isinstance(known[place], Refused):
                    again.add(about)
        return known

    async def _send_within(self, records: Sequence[Outgoing], seconds: float) -> list[Outcome]:
        await self.connect()
        assert self._producer is not None
        producer = self._producer
        outcomes = _hand_over(producer, records)  # which leave at once, and need no thread for it
        try:
            await asyncio.to_thread(producer.flush, seconds)
        except BaseException:
            self._producer = None  # the thread is still at it, and whoever spoke to it would wait for that
            let_go(producer)
            raise
        if any(outcomes.get(record.id) is None for record in records):
            await self.stop()
        return [outcomes.get(record.id) for record in records]


def _hand_over(producer: confluent_kafka.Producer, records: Sequence[Outgoing]) -> dict[int, Outcome]:
    """Gives what the client says of each at once, or will have said by the end of its next flush."""
    outcomes: dict[int, Outcome] = {}
    for record in records:
        headers: dict[str, str | bytes | None] = {"content-type": CONTENT_TYPE, TYPE_HEADER: record.type}
        if record.traceparent:
            headers["traceparent"] = record.traceparent
        try:
            producer.produce(
                record.topic,
                key=record.key,
                value=record.value,
                headers=headers,
                on_delivery=_note_in(outcomes, record.id),
            )
        except KafkaException as error:
            outcomes[record.id] = _failure(record.id, error.args[0])
        except ValueError as error:
            outcomes[record.id] = Refused(record.id, type(error).__name__)
    return outcomes


def _note_in(outcomes: dict[int, Outcome], row: int) -> Callable[[KafkaError | None, Message], None]:
    def note(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            outcomes[row] = _failure(row, error)
        else:
            outcomes[row] = Sent(row, str(message.topic()), int(message.partition() or 0), int(message.offset() or 0))

    return note


def _failure(row: int, error: KafkaError) -> Outcome:
    if error.code() in REFUSALS:
        return Refused(row, error.name())
    log.warning("a record was not sent", error=error.name())
    return None
