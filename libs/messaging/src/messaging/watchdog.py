"""Noticing a consumer that is alive and does nothing, whatever its client or its handler waits for."""

import asyncio
import time
from collections.abc import Callable, Set
from dataclasses import dataclass

import structlog
from chassis import metrics
from chassis.process import End, end_process
from confluent_kafka import KafkaException

from messaging.broker_memory import BrokerMemory
from messaging.consuming import Consumption

EVERY = 5.0
REPLACED_AFTER = 10.0  # seconds without progress though there is something to read: another client may fetch it
STALLED_AFTER = 45.0  # then it is no client's fault
STOOD_STILL = 3  # times as long as was to be slept: nobody moved meanwhile, for the whole process was stopped

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True)
class _Seen:
    """At one look: how many records wait, and two things that change when the consumer moves.

    `moves` does so whatever moves it, `waiting` only if that is a partition of which more waits: the others then wait
    for what was fetched of it, and otherwise for nothing that would come by itself.
    """

    lag: int
    moves: object
    waiting: object


@dataclass
class _Progress:
    moves: object = None
    since: float = 0.0
    stalled: float = 0.0
    waiting: object = None
    waiting_since: float = 0.0
    replaced_at: object = None
    """What waited when it got another client: no third one is of use for that."""


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
        replaced_after: float = REPLACED_AFTER,
        stalled_after: float = STALLED_AFTER,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._consumptions = consumptions
        self._memory = memory
        self._on_lost = on_lost
        self._on_trouble = on_trouble
        self._end = end
        self._every = every
        self._replaced_after = replaced_after
        self._stalled_after = stalled_after
        self._clock = clock
        self._progress = {consumption.group: _Progress() for consumption in consumptions}

    async def run(self) -> None:
        while True:
            since = self._clock()
            await asyncio.sleep(self._every)
            if self._clock() - since > STOOD_STILL * self._every:
                self._progress = {group: _Progress() for group in self._progress}
            for consumption in self._consumptions:
                try:
                    await self.look_at(consumption)
                except (KafkaException, OSError, TimeoutError) as error:
                    # A broker that does not answer is not this process's fault, and no reason to end it.
                    log.debug("lag is unknown", topic=consumption.topic, error=type(error).__name__)
                    self._progress[consumption.group] = _Progress()
                    self._on_trouble()

    async def look_at(self, consumption: Consumption) -> None:
        """One look. A consumer that has not moved though it could gets another client; if that does not move it either,
        the process is ended. If it is a partition alone that does not move, it is left at that: the others do. One
        whose topic was made anew gets another at once.

        For librdkafka 2.16.0 notes the new topic's id and yet asks for its records with the old one's leader epoch: the
        broker refuses them until its leader has changed as often.
        """
        if consumption.consumer is None:
            return
        least = self._memory.ends(consumption.topic)
        questions = consumption.questions
        ends = await questions.ends(consumption.topic, await questions.partitions(consumption.topic))
        if not ends:
            self._on_trouble()
        if any(end < least.get(partition, 0) for partition, end in ends.items()):
            self._on_lost(consumption.topic)
            consumption.replace_client()
        self._judge(consumption, await _look(consumption, ends))

    async def alive(self) -> str | None:
        """For liveness: which consumer has stalled."""
        for consumption in self._consumptions:
            if self._has_stalled(consumption):
                return f"{consumption.group} has not moved for {self._progress[consumption.group].stalled:.0f} s"
        return None

    def _has_stalled(self, consumption: Consumption) -> bool:
        """Not while its handler waits for its database: that has an end of its own, and a restart helps nobody."""
        return self._progress[consumption.group].stalled >= self._stalled_after and not consumption.is_waiting

    def _judge(self, consumption: Consumption, seen: _Seen) -> None:
        progress, now = self._progress[consumption.group], self._clock()
        if not seen.lag or consumption.stands_by or consumption.is_waiting or not progress.since:
            self._progress[consumption.group] = _Progress(seen.moves, now, 0.0, seen.waiting, now, progress.replaced_at)
            return
        if seen.moves != progress.moves:
            progress.moves, progress.since = seen.moves, now
        if seen.waiting != progress.waiting:
            progress.waiting, progress.waiting_since = seen.waiting, now
        progress.stalled = now - progress.since
        waits_long = now - progress.waiting_since >= self._replaced_after
        if self._has_stalled(consumption):
            self._end(f"{consumption.group} has not moved for {progress.stalled:.0f} s, {seen.lag} records are waiting")
        elif waits_long and progress.replaced_at != seen.waiting and consumption.replace_client():
            progress.replaced_at = seen.waiting


async def _look(consumption: Consumption, ends: dict[int, int]) -> _Seen:
    """With partitions of its own a consumer is judged by these; without any, by what its whole group has committed."""
    topic, assigned = consumption.topic, consumption.assigned & ends.keys()
    for partition in ends.keys() - assigned:
        metrics.CONSUMER_LAG.remove(topic, str(partition))  # another replica's to tell of, now or again
    nexts = await _nexts(consumption, assigned or ends.keys())
    lags = {partition: max(0, ends[partition] - offset) for partition, offset in nexts.items()}
    lag = sum(lags.values())
    if not assigned:
        return _Seen(lag, nexts, nexts)
    for partition, waiting in lags.items():
        metrics.CONSUMER_LAG.labels(topic, str(partition)).set(waiting)
    waiting_at = {partition: nexts[partition] for partition, waiting in lags.items() if waiting}
    return _Seen(lag, consumption.moves, (consumption.steps, waiting_at))


async def _nexts(consumption: Consumption, partitions: Set[int]) -> dict[int, int]:
    """The offsets of the next records to be handled: where nothing was handled yet, what the group has committed,
    and where it has committed nothing, the beginning of the log."""
    topic, questions = consumption.topic, consumption.questions
    nexts = {each: offset for each, offset in dict(consumption.next_offsets).items() if each in partitions}
    if unknown := partitions - nexts.keys():
        nexts |= await questions.committed(topic, unknown)
    if unknown := partitions - nexts.keys():
        nexts |= await questions.begins(topic, unknown)
    return nexts
