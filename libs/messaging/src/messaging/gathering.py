"""A consumer that hands on everything that has come: damaged records, too, and in a flood many at once."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from operator import methodcaller
from typing import Any

import structlog
from chassis.process import End
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition
from faststream.confluent import KafkaBroker
from faststream.confluent.helpers.client import AsyncConfluentConsumer

from messaging.broker_access import BrokerAccess
from messaging.client_log import Complaints

DAMAGES = frozenset({KafkaError._BAD_MSG, KafkaError._BAD_COMPRESSION, KafkaError._NOT_IMPLEMENTED})
"""What the client says of a batch that it cannot take apart, at the offset where that begins: wherever in a batch with
broken compression it is told to go on, again and again, and of a batch of unknown version once, and goes on behind it.
"""

# One commit then covers all records of a burst, and is made when a document is on its way no more.
COMMIT_EVERY_MS = 200

# Some 27,000 facts. With the client's own 64 MB, 300,000 that waited took 142 MB of each consumer, and take 47.
FETCHED_AHEAD_KB = 16_384

DAMAGED = ("damaged", None)
"""In place of headers that cannot be read: no real header has no value."""

NOT_YET = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART})
"""What passes by itself, once the topics are made; whoever cannot make them says so."""

_HEADERS = methodcaller("headers")

POLL_SECONDS = 1.0  # in which nothing came
SLICE_SECONDS = 0.25  # of it; a consumer that is stopped waits for the end of one

ASKED_OFTEN_MS = 100  # a broker that does not answer a waiting fetch is asked so often at least

MANY = 5  # subjects at once: more are on their way
FLOOD_SECONDS = 0.15  # since there were that many
GATHER_SECONDS = 0.02  # in which more come together, during a flood

PATIENCE = 0.025  # seconds, with what nobody waits for

PUT_ASIDE_AT = 2
"""How often damage is met when it is handed on, to be put aside."""

Judge = Callable[[Message], bool]

OnPassed = Callable[[Message], None]
"""Told, in the consumer's thread, of a record that was passed by."""

OnEnd = Callable[[int, int], None]
"""Told, in the consumer's thread, of a partition and its end: everything before that was handed on, and handled."""

log = structlog.stdlib.get_logger(__name__)


@dataclass
class _Damage:
    """A batch that cannot be taken apart, by the offset at which it begins, and how often it was met."""

    offset: int
    met: int = 0


class GatheringConsumer(AsyncConfluentConsumer):
    """FastStream's consumer, asked in its own way.

    It waits in a thread for the first record, and takes what has been fetched with it. Where much happens it takes
    what has come now and then: a broker that answers at once would hand out a flood in twos and threes. One that is
    asked every few milliseconds gathers by that.
    """

    _flooded_until = 0.0
    _stopping = False

    def __init__(
        self,
        *topics: Any,
        passes_by: Judge,
        unhurried: Judge,
        on_passed: OnPassed,
        on_end: OnEnd,
        complaints: Complaints,
        end: End,
        **options: Any,
    ) -> None:
        super().__init__(*topics, **options)
        self.steps = 0
        self._passes_by = passes_by
        self._unhurried = unhurried
        self._on_passed = on_passed
        self._on_end = on_end
        self._complaints = complaints
        self._end = end
        self._done: dict[tuple[str, int], int] = {}
        self._ends: dict[int, int] = {}
        self._damages: dict[int, _Damage] = {}

    async def getmany(self, timeout: float = POLL_SECONDS, max_records: int | None = None) -> tuple[Message, ...]:
        """What has come within the time limit: `max_records` at most, damaged ones among them."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._flooded_until:
            await asyncio.sleep(GATHER_SECONDS)
        try:
            found = await loop.run_in_executor(self._thread_pool, self._take, timeout, max_records or 1)
        except Exception:
            # What the client has handed out already would be left out, and acknowledged with what comes after it.
            log.exception("records could not be taken")
            self._end("records could not be taken")
            await asyncio.Event().wait()
        if not self._gathers_anyway and len({message.key() for message in found}) >= MANY:
            self._flooded_until = loop.time() + FLOOD_SECONDS
        return found

    def done(self, topic: str, partition: int, next_offset: int) -> None:
        """Everything before this offset is done with. The client commits it soon, and at the latest when it stops."""
        self._done[topic, partition] = next_offset

    async def stop(self) -> None:
        """Commit what is done, and leave the group. With a broker that says nothing this takes as long as that; who
        does not wait for it goes on, and the thread that does keeps no process alive."""
        self._stopping = True
        loop, closed = asyncio.get_running_loop(), asyncio.Event()
        await loop.run_in_executor(self._thread_pool, self._store)  # behind what is being taken
        self._thread_pool.shutdown(wait=False)

        def close() -> None:
            try:
                self.consumer.close()
            finally:
                with contextlib.suppress(RuntimeError):  # of a loop that is closed by then
                    loop.call_soon_threadsafe(closed.set)

        threading.Thread(target=close, name="close a consumer", daemon=True).start()
        await closed.wait()

    @property
    def _gathers_anyway(self) -> bool:
        return bool(self.config["fetch.wait.max.ms"] <= ASKED_OFTEN_MS)

    def _take(self, timeout: float, most: int) -> tuple[Message, ...]:
        """For the thread. What all of it passes by is not worth waking the loop for."""
        until = time.monotonic() + timeout
        while True:
            self._tell_ends()
            self._store()
            first = self._first(until)
            if first is None:
                return ()
            found = self._records((first, *self.consumer.consume(most - 1, 0)))
            if not all(map(self._passes_by, found)):
                self._await_more(found, most)
                return tuple(found)
            for message in found:
                self._on_passed(message)

    def _first(self, until: float) -> Message | None:
        while not self._stopping and (left := until - time.monotonic()) > 0:
            if (message := self.consumer.poll(min(left, SLICE_SECONDS))) is not None:
                return message
        return None

    def _await_more(self, found: list[Message], most: int) -> None:
        """While nobody waits for anything of it."""
        until = time.monotonic() + PATIENCE
        while all(map(self._unhurried, found)) and len(found) < most and (left := until - time.monotonic()) > 0:
            if (message := self.consumer.poll(left)) is not None:
                found += self._records([message])

    def _records(self, messages: Iterable[Message]) -> list[Message]:
        """Those that are to be handed on. What was fetched behind damage is fetched once more, and handed on then."""
        found, sought = list[Message](), set[int]()
        for message in messages:
            partition = int(message.partition() or 0)
            if partition in sought:
                continue
            if (error := message.error()) is None:
                _make_headers_safe(message)
                found.append(message)
                self._ends.pop(partition, None)  # it was told of before this came
            elif error.code() == KafkaError._PARTITION_EOF:
                self._ends[partition] = int(message.offset() or 0)
            elif error.code() in NOT_YET:
                log.debug("the client says", error=error.name())
            elif error.code() not in DAMAGES:
                self._complaints(error)
            else:
                sought.add(partition)
                if self._meet(message, error):
                    found.append(message)
        return found

    def _meet(self, message: Message, error: KafkaError) -> bool:
        """Whether this damage is to be handed on now: that is when it comes for the second time. At the first it is
        fetched again, for it may have been damaged on its way, and at others there was more of its batch to step over.
        """
        topic, partition, offset = str(message.topic()), int(message.partition() or 0), int(message.offset() or 0)
        known = self._damages.get(partition)
        damage = known if known is not None and known.offset == offset else _Damage(offset)
        self._damages[partition] = damage
        with contextlib.suppress(KafkaException):  # of a partition that is somebody else's by now
            self.consumer.seek(TopicPartition(topic, partition, offset + damage.met))
        damage.met += 1
        self.steps += 1
        if damage.met != PUT_ASIDE_AT:
            return False
        log.error("a record cannot be read", topic=topic, partition=partition, error=error.name())
        return True

    def _tell_ends(self) -> None:
        """Before more is asked for: what was handed out with the word of an end, or before it, is handled by now."""
        ends, self._ends = self._ends, {}
        for partition, end in ends.items():
            self._on_end(partition, end)

    def _store(self) -> None:
        """What is stored the client commits by itself, now and then, when it is stopped, and when it has to give up a
        partition. One that it has given up is somebody else's, who hears the records again; and nothing changes."""
        done, self._done = self._done, {}
        for (topic, partition), offset in done.items():
            with contextlib.suppress(KafkaException):
                self.consumer.store_offsets(offsets=[TopicPartition(topic, partition, offset)])


def _make_headers_safe(message: Message) -> None:
    """With a header's name that is not UTF-8 the client returns a result and an error at once, and breaks the process
    that does not notice. A method caller does; a call that Python has specialized does not."""
    try:
        _HEADERS(message)
    except SystemError:
        message.set_headers([DAMAGED])


class GatheringBroker(KafkaBroker):
    """FastStream's broker with such consumers, and no producer of its own."""

    def __init__(
        self,
        access: BrokerAccess,
        *,
        passes_by: Judge,
        unhurried: Judge,
        on_passed: OnPassed,
        on_end: OnEnd,
        end: End,
        **options: Any,
    ) -> None:
        complaints = Complaints()
        told = {
            "error_cb": complaints,
            # Behind the last record may come what is none: the rest of a damaged batch, a transaction's marker.
            "enable.partition.eof": True,
            # What is committed is what was handled, and not what was handed out.
            "enable.auto.offset.store": False,
            "enable.auto.commit": True,
            "auto.commit.interval.ms": COMMIT_EVERY_MS,
            "fetch.error.backoff.ms": 100,
            "queued.max.messages.kbytes": FETCHED_AHEAD_KB,
            "topic.metadata.refresh.interval.ms": options["metadata_max_age_ms"],
        }
        settings: Any = {**access.options(), **told}  # librdkafka's, of which FastStream's type names some
        super().__init__(access.servers, config=settings, **options)
        self._consumer = partial(
            GatheringConsumer,
            passes_by=passes_by,
            unhurried=unhurried,
            on_passed=on_passed,
            on_end=on_end,
            complaints=complaints,
            end=end,
        )

    async def _connect(self) -> Any:
        config = self.config.broker_config
        config.builder = partial(
            self._consumer, config=config.connection_config, admin_service=config.admin, logger=config.logger
        )
        return config.builder
