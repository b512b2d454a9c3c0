"""One consumer for one subscription: FastStream's broker, with the acknowledging in our own hands."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence

import structlog
from chassis import metrics
from chassis.finishing import to_the_end
from chassis.process import End, end_process
from confluent_kafka import KafkaException, Message, TopicPartition
from faststream import AckPolicy
from faststream.confluent.message import KafkaMessage

from messaging.asking import BrokerQuestions
from messaging.broker_access import FORLORN_SECONDS, BrokerAccess
from messaging.broker_memory import BrokerMemory
from messaging.gathering import POLL_SECONDS, GatheringBroker, GatheringConsumer
from messaging.handling import Handling
from messaging.records import Record, type_of

MAX_POLL_MS = 300_000  # longer than a handler waits for its database
# A group that joined while its topic was not there is given nothing, and asks for nothing, until it looks again.
METADATA_MAX_AGE_MS = 5_000
# Members learn by their heartbeats that another one has come or gone; until all of them know, nobody hears anything.
HEARTBEAT_MS = 1_000
# Records that are handled together, if so many have come.
AT_ONCE = 20
STOP_SECONDS = 4.0
FORLORN_SESSIONS = 3  # until then the broker may be waiting for members that are gone
LOOK_SECONDS = 1.0
ASK_AGAIN_SECONDS = 1.0

NewLog = Callable[[str], None]
"""Told the name of a topic of which this group has never committed anything."""

log = structlog.stdlib.get_logger(__name__)


class Consumption:
    """Consumes until it is cancelled, and tells how far it has come.

    The client waits for a broker that is away by itself. It is replaced when it has had no place in its group for long,
    and when it may fetch nothing any more: its topic is found to be another one, or `replace_client` says so.
    """

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
        forlorn_seconds: float = FORLORN_SECONDS,
        on_new_log: NewLog | None = None,
        end: End = end_process,
    ) -> None:
        self.topic = topic
        self.group = group
        self.handled = 0
        self.assigned: set[int] = set()
        self.next_offsets: dict[int, int] = {}
        self.joined = asyncio.Event()
        self.consumer: GatheringConsumer | None = None
        self._kafka = kafka
        self.questions = BrokerQuestions(kafka, group)
        self._handling = handling
        self._memory = memory
        self._fetch_max_wait_ms = fetch_max_wait_ms
        self._session_timeout_ms = session_timeout_ms
        self._forlorn_seconds = max(forlorn_seconds, FORLORN_SESSIONS * session_timeout_ms / 1000)
        self._on_new_log = on_new_log
        self._end = end
        self._handling_some = asyncio.Lock()
        self._joining: asyncio.Task[None] | None = None
        self._is_member = False
        self._is_to_be_replaced = asyncio.Event()
        self._has_heard = False
        self._generation = 0
        self._may_commit = False

    @property
    def moves(self) -> int:
        """Grows whenever a record is done with, or one more offset of a damaged batch is stepped over."""
        return self.handled + self.steps

    @property
    def steps(self) -> int:
        """Grows with each offset of a damaged batch that is stepped over; begins again with another client."""
        return self.consumer.steps if self.consumer is not None else 0

    @property
    def stands_by(self) -> bool:
        """Whether it is a member of its group whose partitions all are others': it is theirs to move."""
        return self._is_member and not self.assigned

    @property
    def is_waiting(self) -> bool:
        """Whether a handler waits for its database: that has an end of its own."""
        return self._handling.waiting

    def replace_client(self) -> bool:
        """Have another client consume. Not while something is handled: then that is what takes its time."""
        if self._handling_some.locked():
            return False
        self._is_to_be_replaced.set()
        return True

    async def run(self) -> None:
        """Consume."""
        while True:
            self._is_to_be_replaced.clear()
            self._has_heard = False
            broker = self._broker()
            try:
                await broker.start()
                assert isinstance(self._subscriber.consumer, GatheringConsumer)
                self.consumer = self._subscriber.consumer
                log.info("consuming", topic=self.topic, group=self.group)
                reason = await self._until_useless()
                log.warning("a consumer is replaced", topic=self.topic, group=self.group, reason=reason)
            finally:
                await to_the_end(self._stop(broker))  # whoever stops while it is replaced leaves its group, too

    async def _until_useless(self) -> str:
        """Until it has had no place in its group for long, or is to be replaced; gives why.

        While something is handled nobody asks the client for its place.
        """
        clock = asyncio.get_running_loop().time
        since = clock()
        while clock() - since < self._forlorn_seconds:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._is_to_be_replaced.wait()
                    return "it may fetch nothing any more"
            if self._is_member or self._handling_some.locked():
                since = clock()
        return "it has no place in its group"

    async def _stop(self, broker: GatheringBroker) -> None:
        """Commit what is done and leave the group. Neither may take for ever: what was not committed is heard again."""
        self._generation += 1  # what this client has yet to say is about nothing any more
        with contextlib.suppress(Exception):
            async with asyncio.timeout(STOP_SECONDS):
                self._subscriber.running = False
                async with self._handling_some:
                    pass
        self._were_lost(set(self.assigned))
        self.next_offsets.clear()
        with contextlib.suppress(Exception):
            async with asyncio.timeout(STOP_SECONDS):
                await broker.stop()
        self.consumer = None

    def _broker(self) -> GatheringBroker:
        broker = GatheringBroker(
            self._kafka,
            passes_by=lambda message: message.error() is None and self._handling.passes_by(type_of(message)),
            unhurried=lambda message: message.error() is None and self._handling.is_unhurried(type_of(message)),
            on_passed=self._passed,
            on_end=self._at_its_end,
            end=self._end,
            client_id=self.group,
            allow_auto_create_topics=False,
            metadata_max_age_ms=METADATA_MAX_AGE_MS,
            apply_types=False,
            graceful_timeout=None,  # who stops has waited already
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
            on_assign=self._in_the_loop(self._were_assigned),
            on_revoke=self._in_the_loop(self._were_revoked),
            on_lost=self._in_the_loop(self._were_lost),
            batch=True,
            max_records=AT_ONCE,
            polling_interval=POLL_SECONDS,
            parser=_as_they_are,
            decoder=_raw,
            no_reply=True,
        )
        self._subscriber(self._hear)
        return broker

    async def _hear(self, raw: Sequence[Message]) -> None:
        subscriber = self._subscriber
        try:
            records = [Record.of(message) for message in raw]
            async with self._handling_some:
                await self._handling.handle(*records)
                if subscriber is self._subscriber:  # else another client hears them again
                    for record in records:
                        self._done(record.partition, record.offset)
        except Exception:
            # FastStream would go on to the next records, and their acknowledgement would cover these.
            log.exception("records were neither handled nor put aside", topic=self.topic, offset=raw[0].offset())
            self._end("records were neither handled nor put aside")
            await asyncio.Event().wait()

    def _passed(self, message: Message) -> None:
        """Of a record that nothing is to be noted of. Called in the consumer's thread, and never during a handler."""
        self._done(int(message.partition() or 0), int(message.offset() or 0))

    def _done(self, partition: int, offset: int) -> None:
        self.handled += 1
        self._has_heard = True
        self.next_offsets[partition] = offset + 1
        self._memory.heard(self.topic, partition, offset)
        if self._may_commit:
            self._tell_done(partition, offset + 1)

    def _at_its_end(self, partition: int, end: int) -> None:
        """Of a partition of which everything is done with; of an empty one there is nothing to say.

        Called like `_passed`.
        """
        if end and self.next_offsets.get(partition) != end:
            self.next_offsets[partition] = end
            if self._may_commit:
                self._tell_done(partition, end)

    def _tell_done(self, partition: int, next_offset: int) -> None:
        if self.consumer is not None:
            self.consumer.done(self.topic, partition, next_offset)

    def _in_the_loop(self, call: Callable[[set[int]], None]) -> Callable[[object, Iterable[TopicPartition]], None]:
        """For the client, which calls while it is asked for records: in a thread, and never during a handler.

        How far these partitions were handled here is forgotten at once, for the client's next record may be of them.
        """
        loop, generation = asyncio.get_running_loop(), self._generation

        def told(_consumer: object, places: Iterable[TopicPartition]) -> None:
            partitions = {place.partition for place in places}
            if generation == self._generation:
                for partition in partitions:
                    self.next_offsets.pop(partition, None)
                loop.call_soon_threadsafe(take, partitions)

        def take(partitions: set[int]) -> None:
            if generation == self._generation:
                call(partitions)

        return told

    def _were_assigned(self, partitions: set[int]) -> None:
        self._is_member = True
        self.assigned |= partitions
        self._cancel_joining()
        self._joining = asyncio.ensure_future(self._join(has_heard=self._has_heard))

    def _were_revoked(self, partitions: set[int]) -> None:
        self._is_member = False  # until it is told its next ones, which may be none
        self.assigned -= partitions
        for partition in partitions:
            metrics.CONSUMER_LAG.remove(self.topic, str(partition))

    def _were_lost(self, partitions: set[int]) -> None:
        self._were_revoked(partitions)
        self._leave()

    def _leave(self) -> None:
        self._cancel_joining()
        self.joined.clear()

    def _cancel_joining(self) -> None:
        self._may_commit = False
        if self._joining is not None:
            self._joining.cancel()

    async def _join(self, *, has_heard: bool) -> None:
        """A group that has committed nothing at all of a topic sees it for the first time, or the broker forgot.

        Asked before anything of it is committed here. A client that had heard of the topic before has to be replaced:
        it may ask for records as of the old one, and be refused them for ever (see `Watchdog.look_at`).
        """
        while self._on_new_log is not None:
            try:
                partitions = await self.questions.partitions(self.topic)
                committed = await self.questions.committed(self.topic, partitions)
            except KafkaException as error:
                log.warning("cannot tell yet whether the topic is new", topic=self.topic, error=str(error))
                self.joined.set()  # it hears, and whatever it hears is committed once this is known
                await asyncio.sleep(ASK_AGAIN_SECONDS)
            else:
                if not committed:
                    self._on_new_log(self.topic)
                    if has_heard:
                        self._is_to_be_replaced.set()
                break
        self._begin()

    def _begin(self) -> None:
        self.joined.set()
        self._may_commit = True
        for partition, next_offset in dict(self.next_offsets).items():
            self._tell_done(partition, next_offset)


async def _as_they_are(raw: Sequence[Message]) -> KafkaMessage:
    """A message whatever is in it: FastStream's own parser fails at records with odd headers before any handler."""
    return KafkaMessage(raw_message=raw, body=b"", headers={}, consumer=_NO_CONSUMER, message_id=f"{raw[0].offset()}")


async def _raw(message: KafkaMessage) -> object:
    return message.raw_message


class _NoConsumer:
    """FastStream's messages want one; positions are told to the consumer itself, and never sought back."""

    async def commit(self) -> None:
        raise NotImplementedError

    async def seek(self, topic: str | None, partition: int | None, offset: int | None) -> None:
        raise NotImplementedError


_NO_CONSUMER = _NoConsumer()
