"""A consumer that gets past records which its client cannot even take apart."""

import asyncio
import contextlib
from collections.abc import Coroutine
from functools import partial
from typing import Any, TypeVar

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.structs import TopicPartition
from faststream.kafka import KafkaBroker

from messaging.broker_access import BrokerAccess

DAMAGED = (("damaged", None),)
"""Headers of the record that is handed on in place of one that cannot be read: no real header has no value."""

BRISK_SECONDS = 2.0  # after a record; the next ones are likely to follow
CALM = 8  # times the usual wait, when nothing does
CALM_MS = 100

MANY = 5  # subjects at once: more are on their way
FLOOD_SECONDS = 0.15  # since there were that many
GATHER_SECONDS = 0.02  # in which more come together, during a flood

T = TypeVar("T")

log = structlog.stdlib.get_logger(__name__)


class TolerantConsumer(AIOKafkaConsumer):  # type: ignore[misc]
    """Hands on a record without content where the client would fail at the same offset for ever.

    Header names that are not UTF-8, compression that is unknown or broken: all of it is met deep in the client, and
    stops the partition otherwise.

    Where nothing happens it asks less often: a broker that does not answer a waiting fetch when a record comes (the
    embedded one) is asked every few milliseconds, and one that does (Apache Kafka) is left with its long wait anyway.

    Where much happens it takes what has come now and then: a broker that answers at once would hand out a flood in
    twos and threes. One that is asked every few milliseconds gathers by that.
    """

    _flooded_until = 0.0
    _calming: asyncio.TimerHandle | None = None
    _failed_at: tuple[TopicPartition, int] | None = None

    async def start(self) -> None:
        await super().start()
        self._hasten()

    async def stop(self) -> None:
        if self._calming is not None:
            self._calming.cancel()
        await super().stop()

    async def getone(self, *partitions: TopicPartition) -> "ConsumerRecord[Any, Any]":
        while True:
            try:
                record = await super().getone(*partitions)
            except Exception as error:
                stuck = self._stuck()
                if stuck is None:
                    raise
                place = stuck, await self.position(stuck)
                if place == self._failed_at:
                    return self._step_over(*place, error)
                self._failed_at = place  # fetched once more: it may have been damaged on the way only
            else:
                self._hasten()
                return record

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int = 0, max_records: int | None = None
    ) -> "dict[TopicPartition, list[ConsumerRecord[Any, Any]]]":
        """One record, waited for as long as it takes, and what has been fetched with it: `max_records` at most."""
        del timeout_ms
        clock = asyncio.get_running_loop().time
        if clock() < self._flooded_until:
            await asyncio.sleep(GATHER_SECONDS)
        found = [await self.getone(*partitions)]
        # What is wrong with the next ones is met again; raised here, it would lose those that are found.
        with contextlib.suppress(Exception):
            while len(found) != max_records and (record := _at_once(self.getone(*partitions))) is not None:
                found.append(record)
        if not self._gathers_anyway and len({record.key for record in found}) >= MANY:
            self._flooded_until = clock() + FLOOD_SECONDS
        by_place: dict[TopicPartition, list[ConsumerRecord[Any, Any]]] = {}
        for record in found:
            by_place.setdefault(TopicPartition(record.topic, record.partition), []).append(record)
        return by_place

    def _step_over(self, stuck: TopicPartition, offset: int, error: Exception) -> "ConsumerRecord[Any, Any]":
        log.error("a record cannot be read", topic=stuck.topic, partition=stuck.partition, error=type(error).__name__)
        self.seek(stuck, offset + 1)
        return ConsumerRecord(stuck.topic, stuck.partition, offset, 0, 0, None, None, None, -1, -1, DAMAGED)

    @property
    def _gathers_anyway(self) -> bool:
        """Whether the broker is asked every few milliseconds, because it does not answer a waiting fetch."""
        return bool(self._fetch_max_wait_ms <= CALM_MS)

    def _hasten(self) -> None:
        if self._calming is not None:
            self._calming.cancel()
        self._fetcher._fetch_max_wait_ms = self._fetch_max_wait_ms
        self._calming = asyncio.get_running_loop().call_later(BRISK_SECONDS, self._calm_down)

    def _calm_down(self) -> None:
        calm = max(self._fetch_max_wait_ms, min(self._fetch_max_wait_ms * CALM, CALM_MS))
        self._fetcher._fetch_max_wait_ms = calm

    def _stuck(self) -> TopicPartition | None:
        """The partition whose records just ended in an error: its iterator is finished, and it does not know yet."""
        for partition, result in self._fetcher._records.items():
            records = getattr(result, "_partition_records", None)
            iterator = getattr(records, "_records_iterator", None)
            if iterator is not None and iterator.gi_frame is None:
                return TopicPartition(partition.topic, partition.partition)
        return None


def _at_once(step: Coroutine[Any, Any, T]) -> T | None:
    """What the step gives without waiting for anything; None if it would have to wait, and then it is taken back."""
    try:
        step.send(None)
    except StopIteration as end:
        given: T = end.value
        return given
    step.close()
    return None


class TolerantBroker(KafkaBroker):
    """FastStream's broker with tolerant consumers."""

    def __init__(self, access: BrokerAccess, **options: Any) -> None:
        super().__init__(access.servers.split(","), **options)
        self._access = access

    async def _connect(self) -> Any:
        builder = await super()._connect()
        options: dict[str, Any] = getattr(builder, "keywords", {})
        self.config.broker_config.builder = partial(TolerantConsumer, **options | self._access.options())
        return self.config.broker_config.builder
