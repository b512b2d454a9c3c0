"""Noticing a consumer that is alive and does nothing: the client can stall so after its broker's restarts."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition
from chassis import metrics
from chassis.process import End, end_process

from messaging.broker_memory import BrokerMemory
from messaging.consuming import Consumption

EVERY = 5.0
STALLED_AFTER = 45.0  # seconds without progress though there is something to read
ASK_SECONDS = 4.0

log = structlog.stdlib.get_logger(__name__)


@dataclass
class _Progress:
    mark: object = None
    since: float = 0.0
    stalled: float = 0.0


class Watchdog:
    """Looks at every consumer every few seconds: its lag, whether it moves, and whether its log is still the same."""

    def __init__(
        self,
        consumptions: list[Consumption],
        memory: BrokerMemory,
        *,
        on_lost: Callable[[str], None],
        on_trouble: Callable[[], None] = lambda: None,
        end: End = end_process,
        every: float = EVERY,
        stalled_after: float = STALLED_AFTER,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._consumptions = consumptions
        self._memory = memory
        self._on_lost = on_lost
        self._on_trouble = on_trouble
        self._end = end
        self._every = every
        self._stalled_after = stalled_after
        self._clock = clock
        self._progress = {consumption.group: _Progress() for consumption in consumptions}

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            for consumption in self._consumptions:
                try:
                    await self.look_at(consumption)
                except (KafkaError, OSError, TimeoutError) as error:
                    # A broker that does not answer is not this process's fault, and no reason to end it.
                    log.debug("lag is unknown", topic=consumption.topic, error=type(error).__name__)
                    self._progress[consumption.group] = _Progress()
                    self._on_trouble()

    async def look_at(self, consumption: Consumption) -> None:
        """One look. Ends the process if the consumer has not moved for too long though it could."""
        consumer = consumption.consumer
        if consumer is None:
            return
        least = self._memory.ends(consumption.topic)
        async with asyncio.timeout(ASK_SECONDS):
            ends = await _ends(consumer, consumption.topic)
        if not ends:
            self._on_trouble()
        if any(end < least.get(place.partition, 0) for place, end in ends.items()):
            self._on_lost(consumption.topic)
        self._judge(consumption, *await _lag(consumption, consumer, ends))

    async def alive(self) -> str | None:
        """For liveness: which consumer has stalled."""
        for group, progress in self._progress.items():
            if progress.stalled >= self._stalled_after:
                return f"{group} has not moved for {progress.stalled:.0f} s"
        return None

    def _judge(self, consumption: Consumption, lag: int, mark: object) -> None:
        progress, now = self._progress[consumption.group], self._clock()
        if not lag or mark != progress.mark or not progress.since:
            self._progress[consumption.group] = _Progress(mark=mark, since=now)
            return
        progress.stalled = now - progress.since
        if progress.stalled >= self._stalled_after and not consumption.is_waiting:
            self._end(f"{consumption.group} has not moved for {progress.stalled:.0f} s, {lag} records are waiting")


async def _ends(consumer: AIOKafkaConsumer, topic: str) -> dict[TopicPartition, int]:
    places = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
    ends: dict[TopicPartition, int] = await consumer.end_offsets(places)
    return ends


async def _lag(
    consumption: Consumption, consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int]
) -> tuple[int, object]:
    """How many records wait, and something that changes when it moves.

    With partitions of its own a consumer is judged by these; without any, by what its whole group has committed.
    """
    assigned = [place for place in consumer.assignment() if place in ends]
    for place in ends.keys() - set(assigned):
        metrics.CONSUMER_LAG.remove(place.topic, str(place.partition))  # another replica's to tell of, now or again
    if not assigned:
        async with asyncio.timeout(ASK_SECONDS):
            committed = {place: await consumer.committed(place) or 0 for place in ends}
        return sum(max(0, end - committed[place]) for place, end in ends.items()), tuple(sorted(committed.items()))
    lags = {place: max(0, ends[place] - await _next(consumption, consumer, place)) for place in assigned}
    for place, lag in lags.items():
        metrics.CONSUMER_LAG.labels(place.topic, str(place.partition)).set(lag)
    return sum(lags.values()), consumption.handled


async def _next(consumption: Consumption, consumer: AIOKafkaConsumer, place: TopicPartition) -> int:
    """The offset of the next record to be handled; 0 for a consumer that cannot say, which is a way to be stalled."""
    handled = consumption.next_offsets.get(place)
    if handled is not None:
        return handled
    try:
        async with asyncio.timeout(ASK_SECONDS / 4):
            position: int = await consumer.position(place)
            return position
    except (KafkaError, TimeoutError):
        return 0
