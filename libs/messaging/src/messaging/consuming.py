"""One consumer for one subscription: FastStream's broker, with the acknowledging in our own hands."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition
from chassis import metrics
from chassis.process import End, end_process
from faststream import AckPolicy
from faststream.kafka.message import KafkaMessage

from messaging.acking import Acknowledgements
from messaging.broker_access import BrokerAccess
from messaging.broker_memory import BrokerMemory
from messaging.handling import Handling
from messaging.records import Record
from messaging.tolerant_consumer import TolerantBroker

MAX_POLL_MS = 300_000  # longer than a handler waits for its database
# A group that joined while its topic was not there is given nothing, and asks for nothing, until it looks again.
METADATA_MAX_AGE_MS = 5_000
# Members learn by their heartbeats that another one has come or gone; until all of them know, nobody hears anything.
HEARTBEAT_MS = 1_000
# Records that are handled together, if so many have come.
AT_ONCE = 20
STOP_SECONDS = 4.0
RETRY_AFTER = (0.1, 0.5, 1.0, 2.0)

NewLog = Callable[[str], None]
"""Told the name of a topic of which this group has never committed anything."""

log = structlog.stdlib.get_logger(__name__)


class Consumption:
    """Consumes until it is cancelled, and tells how far it has come."""

    def __init__(
        self,
        *,
        kafka: BrokerAccess,
        topic: str,
        group: str,
        handling: Handling,
        memory: BrokerMemory,
        fetch_max_wait_ms: int = 500,
        session_timeout_ms: int = 6000,
        on_new_log: NewLog | None = None,
        end: End = end_process,
    ) -> None:
        self.topic = topic
        self.group = group
        self.handled = 0
        self.next_offsets: dict[TopicPartition, int] = {}
        self.joined = asyncio.Event()
        self.consumer: AIOKafkaConsumer | None = None
        self.acknowledgements: Acknowledgements | None = None
        self._kafka = kafka
        self._handling = handling
        self._memory = memory
        self._fetch_max_wait_ms = fetch_max_wait_ms
        self._session_timeout_ms = session_timeout_ms
        self._on_new_log = on_new_log
        self._end = end
        self._handling_some = asyncio.Lock()

    @property
    def is_waiting(self) -> bool:
        """Whether a handler waits for its database: that has an end of its own."""
        return self._handling.waiting

    async def run(self) -> None:
        """Consume; while the broker is away, try again."""
        failures = 0
        while True:
            broker = self._broker()
            try:
                await broker.start()
                failures = 0
                await self._consume()
            except (KafkaError, OSError, TimeoutError) as error:
                log.warning("the broker is away", topic=self.topic, error=type(error).__name__)
            finally:
                await self._stop(broker)
            await asyncio.sleep(RETRY_AFTER[min(failures, len(RETRY_AFTER) - 1)])
            failures += 1

    async def _consume(self) -> None:
        self.consumer = self._subscriber.consumer
        assert self.consumer is not None
        self.acknowledgements = Acknowledgements(self.consumer)
        self.joined.set()
        log.info("consuming", topic=self.topic, group=self.group)
        await self.acknowledgements.run()

    async def _stop(self, broker: TolerantBroker) -> None:
        """Commit what is done and leave the group. Neither may take for ever: what was not committed is heard again."""
        self.joined.clear()
        acknowledgements = self.acknowledgements
        with contextlib.suppress(Exception):
            async with asyncio.timeout(STOP_SECONDS):
                self._subscriber.running = False
                async with self._handling_some:
                    if acknowledgements is not None:
                        await acknowledgements.flush()
        with contextlib.suppress(Exception):
            async with asyncio.timeout(STOP_SECONDS):
                await broker.stop()
        self.consumer = self.acknowledgements = None

    def _broker(self) -> TolerantBroker:
        broker = TolerantBroker(
            self._kafka,
            client_id=self.group,
            consumer_only=True,
            allow_auto_create_topics=False,
            metadata_max_age_ms=METADATA_MAX_AGE_MS,
            apply_types=False,
            graceful_timeout=STOP_SECONDS,
            logger=None,
        )
        self._subscriber = broker.subscriber(
            self.topic,
            group_id=self.group,
            ack_policy=AckPolicy.MANUAL,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=self._fetch_max_wait_ms,
            session_timeout_ms=self._session_timeout_ms,
            heartbeat_interval_ms=min(HEARTBEAT_MS, self._session_timeout_ms // 3),
            max_poll_interval_ms=MAX_POLL_MS,
            listener=_Rebalances(self),
            batch=True,
            max_records=AT_ONCE,
            parser=_as_they_are,
            decoder=_raw,
            no_reply=True,
        )
        self._subscriber(self._hear)
        return broker

    async def _hear(self, raw: "Sequence[ConsumerRecord[bytes | None, bytes | None]]") -> None:
        try:
            async with self._handling_some:
                await self._handling.handle(*map(Record.of, raw))
        except Exception:
            # FastStream would go on to the next records, and their acknowledgement would cover these.
            log.exception("records were neither handled nor put aside", topic=self.topic, offset=raw[0].offset)
            self._end("records were neither handled nor put aside")
            await asyncio.Event().wait()
        for record in raw:
            self._handled(record)

    def _handled(self, record: "ConsumerRecord[bytes | None, bytes | None]") -> None:
        self.handled += 1
        self.next_offsets[TopicPartition(record.topic, record.partition)] = record.offset + 1
        self._memory.heard(record.topic, record.partition, record.offset)
        if self.acknowledgements is not None:
            self.acknowledgements.done(record.topic, record.partition, record.offset)

    async def _assigned(self) -> None:
        """A group that has committed nothing at all of a topic sees it for the first time, or the broker forgot."""
        consumer = self._subscriber.consumer
        if consumer is None or self._on_new_log is None:
            return
        places = [TopicPartition(self.topic, number) for number in consumer.partitions_for_topic(self.topic) or ()]
        committed = await asyncio.gather(*(consumer.committed(place) for place in places))
        if not any(committed):
            self._on_new_log(self.topic)


class _Rebalances(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, consumption: Consumption) -> None:
        self._consumption = consumption

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        acknowledgements = self._consumption.acknowledgements
        for place in revoked:
            self._consumption.next_offsets.pop(place, None)
            with contextlib.suppress(KeyError):
                metrics.CONSUMER_LAG.remove(place.topic, str(place.partition))
        if acknowledgements is not None and revoked:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(2):
                    await acknowledgements.flush()
            acknowledgements.forget(revoked)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        del assigned
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._consumption._assigned()
        except (KafkaError, OSError, TimeoutError) as error:
            log.warning("could not tell whether the topic is new", error=type(error).__name__)


async def _as_they_are(raw: "Sequence[ConsumerRecord[bytes | None, bytes | None]]") -> KafkaMessage:
    """A message whatever is in it: FastStream's own parser drops records with odd headers before any handler."""
    return KafkaMessage(raw_message=raw, body=b"", headers={}, consumer=_NO_CONSUMER, message_id=f"{raw[0].offset}")


async def _raw(message: KafkaMessage) -> object:
    return message.raw_message


class _NoConsumer:
    """FastStream's messages want one; records are acknowledged by `messaging.acking`, and never sought back."""

    async def commit(self) -> None:
        raise NotImplementedError

    def seek(self, partition: TopicPartition, offset: int) -> None:
        raise NotImplementedError


_NO_CONSUMER = _NoConsumer()
