"""Sending to the broker: in order within a partition, and never for long."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    InvalidTopicError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
)
from aiokafka.structs import RecordMetadata
from contracts.envelope import CONTENT_TYPE

from messaging.broker_access import BrokerAccess

SEND_SECONDS = 5.0

REFUSALS = (MessageSizeTooLargeError, RecordListTooLargeError, InvalidTopicError, AssertionError, ValueError)
"""What no later attempt can mend: the broker, or the client on its behalf, will never take this record."""

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True)
class Outgoing:
    """A record on its way; `id` is the outbox row's."""

    id: int
    topic: str
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
    an idempotent producer never recovers are not. Order is kept without it, one batch a partition at a time.
    """

    def __init__(self, kafka: BrokerAccess) -> None:
        self._kafka = kafka
        self._producer: AIOKafkaProducer | None = None

    async def connect(self) -> None:
        """Make sure of a connection. Raises `KafkaError` or `OSError` while the broker is away."""
        if self._producer is not None:
            return
        producer = AIOKafkaProducer(
            **self._kafka.options(),
            acks="all",
            # A batch that was not acknowledged within this time is given up, so that no copy of it lies in wait.
            request_timeout_ms=round(SEND_SECONDS * 1000 * 0.8),
            metadata_max_age_ms=60_000,
        )
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await producer.start()
        except BaseException:
            await _stop(producer)
            raise
        self._producer = producer

    async def send(self, records: Sequence[Outgoing]) -> list[Outcome]:
        """Send them, in the order given, within the time limit. Gives what became of each, in the same order."""
        outcomes = await self._send_within(records, SEND_SECONDS)
        if len(records) > 1 and any(isinstance(outcome, Refused) for outcome in outcomes):
            # Records share batches, and a batch is refused as one: find out whose fault it was.
            outcomes = [
                (await self._send_within([record], SEND_SECONDS / 5))[0] if isinstance(outcome, Refused) else outcome
                for record, outcome in zip(records, outcomes, strict=True)
            ]
        return outcomes

    async def stop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await _stop(producer)

    async def _send_within(self, records: Sequence[Outgoing], seconds: float) -> list[Outcome]:
        await self.connect()
        assert self._producer is not None
        topics = [list(group) for _, group in groupby(sorted(records, key=_topic), key=_topic)]
        sending = [asyncio.ensure_future(_send_topic(self._producer, group)) for group in topics]
        _, late = await asyncio.wait(sending, timeout=seconds)
        outcomes: dict[int, Outcome] = {}
        for task in sending:
            if task in late:
                task.cancel()
                continue
            outcomes.update(task.result())
        if any(outcomes.get(record.id) is None for record in records):
            await self.stop()
        return [outcomes.get(record.id) for record in records]


def _topic(record: Outgoing) -> str:
    return record.topic


async def _send_topic(producer: AIOKafkaProducer, records: Sequence[Outgoing]) -> dict[int, Outcome]:
    """One topic's records, each handed over before the next: a missing topic keeps nobody but itself waiting."""
    handed: list[tuple[int, asyncio.Future[RecordMetadata] | BaseException]] = []
    for record in records:
        headers = [("content-type", CONTENT_TYPE.encode())]
        if record.traceparent:
            headers.append(("traceparent", record.traceparent.encode()))
        try:
            future = await producer.send(record.topic, key=record.key, value=record.value, headers=headers)
        except (KafkaError, *REFUSALS) as error:
            handed.append((record.id, error))
        else:
            handed.append((record.id, future))
    return {row: await _outcome(row, answer) for row, answer in handed}


async def _outcome(row: int, answer: "asyncio.Future[RecordMetadata] | BaseException") -> Outcome:
    try:
        if isinstance(answer, BaseException):
            raise answer
        metadata = await asyncio.shield(answer)
    except REFUSALS as error:
        return Refused(row, type(error).__name__)
    except KafkaError as error:
        log.warning("a record was not sent", error=type(error).__name__)
        return None
    return Sent(row, metadata.topic, metadata.partition, metadata.offset)


async def _stop(producer: AIOKafkaProducer) -> None:
    """End it, whatever state it is in: stopping waits for what is buffered, and that may never go."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(1):
            await producer.stop()
