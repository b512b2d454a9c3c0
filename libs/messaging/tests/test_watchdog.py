"""A consumer that is alive and does nothing."""

import asyncio
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaConnectionError
from aiokafka.structs import TopicPartition
from chassis import metrics
from messaging.broker_memory import BrokerMemory
from messaging.consuming import Consumption
from messaging.watchdog import Watchdog

from libs.messaging.tests.samples import until

PLACE = TopicPartition("documents", 0)


class Consumer:
    """As much of a consumer as the watchdog asks."""

    def __init__(self) -> None:
        self.end = 0
        self.position_at: int | None = 0
        self.committed_at = 0
        self.assigned = {PLACE}
        self.away = False

    def partitions_for_topic(self, topic: str) -> set[int]:
        return {0}

    def assignment(self) -> set[TopicPartition]:
        return self.assigned

    async def end_offsets(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        if self.away:
            raise KafkaConnectionError
        return dict.fromkeys(places, self.end)

    async def position(self, place: TopicPartition) -> int:
        if self.position_at is None:
            raise TimeoutError
        return self.position_at

    async def committed(self, place: TopicPartition) -> int:
        return self.committed_at


class Consumes:
    """As much of a consumption."""

    topic = "documents"
    group = "some.documents"

    def __init__(self, consumer: Consumer) -> None:
        self.consumer: AIOKafkaConsumer | None = consumer
        self.handled = 0
        self.next_offsets: dict[TopicPartition, int] = {}
        self.is_waiting = False


class Watched:
    """A watchdog with a clock of its own."""

    def __init__(self) -> None:
        self.now = 1.0
        self.ended: list[str] = []
        self.lost: list[str] = []
        self.memory = BrokerMemory()
        self.consumer = Consumer()
        self.consumes = Consumes(self.consumer)
        self.watchdog = Watchdog(
            [cast("Consumption", self.consumes)],
            self.memory,
            on_lost=self._on_lost,
            end=self.ended.append,
            every=0.01,
            stalled_after=45,
            clock=lambda: self.now,
        )

    def _on_lost(self, topic: str) -> None:
        self.lost.append(topic)
        self.memory.forget(topic)

    async def look_after(self, seconds: float) -> None:
        self.now += seconds
        await self.watchdog.look_at(cast("Consumption", self.consumes))


@pytest.fixture
def watched() -> Watched:
    return Watched()


async def test_no_progress_though_there_is_lag_ends_the_process(watched: Watched) -> None:
    watched.consumer.end = 10
    for seconds in (0, 30):
        await watched.look_after(seconds)
    assert watched.ended == []
    assert await watched.watchdog.alive() is None
    await watched.look_after(20)
    assert watched.ended == ["some.documents has not moved for 50 s, 10 records are waiting"]
    assert await watched.watchdog.alive() == "some.documents has not moved for 50 s"


async def test_slow_progress_is_progress(watched: Watched) -> None:
    watched.consumer.end = 10
    for _ in range(5):
        await watched.look_after(30)
        watched.consumes.handled += 1
    assert watched.ended == []


async def test_nothing_to_do_is_not_stalling(watched: Watched) -> None:
    watched.consumer.end = watched.consumer.position_at = 10
    for _ in range(5):
        await watched.look_after(30)
    watched.consumer.end = 20
    watched.consumes.next_offsets = {PLACE: 20}
    await watched.look_after(30)
    assert watched.ended == []


async def test_a_consumer_that_cannot_even_say_where_it_is_has_stalled(watched: Watched) -> None:
    watched.consumer.end, watched.consumer.position_at = 10, None
    for _ in range(3):
        await watched.look_after(30)
    assert len(watched.ended) > 0


async def test_without_partitions_it_is_the_group_that_must_move(watched: Watched) -> None:
    watched.consumer.assigned = set()
    watched.consumer.end, watched.consumer.committed_at = 10, 2
    for _ in range(4):
        await watched.look_after(30)
        watched.consumer.committed_at += 1
    assert watched.ended == []
    for _ in range(3):
        await watched.look_after(30)
    assert len(watched.ended) > 0


async def test_a_handler_that_waits_for_its_database_is_left_alone(watched: Watched) -> None:
    watched.consumer.end, watched.consumes.is_waiting = 10, True
    for _ in range(3):
        await watched.look_after(30)
    assert watched.ended == []


async def test_a_broker_that_is_away_is_no_reason_to_end(watched: Watched) -> None:
    watched.consumer.end = 10
    running = asyncio.create_task(watched.watchdog.run())
    await until(lambda: watched.watchdog._progress["some.documents"].since > 0)
    watched.consumer.away = True
    await until(lambda: watched.watchdog._progress["some.documents"].since == 0)
    watched.now += 1000
    assert await watched.watchdog.alive() is None
    watched.consumes.consumer = None
    running.cancel()
    assert watched.ended == []


async def test_a_log_that_has_become_shorter_is_told_of_once(watched: Watched) -> None:
    watched.memory.heard("documents", 0, 9)
    watched.consumer.end = watched.consumer.position_at = 10
    await watched.look_after(1)
    assert watched.lost == []
    watched.consumer.end = watched.consumer.position_at = 3
    await watched.look_after(1)
    await watched.look_after(1)
    assert watched.lost == ["documents"]


async def test_lag_is_measured(watched: Watched) -> None:
    watched.consumer.end, watched.consumer.position_at = 10, 4
    await watched.look_after(1)
    gauge: Any = metrics.CONSUMER_LAG.labels("documents", "0")
    assert gauge._value.get() == 6


async def test_the_lag_of_a_partition_that_went_to_another_replica_is_not_told_any_more(watched: Watched) -> None:
    watched.consumer.end = 10
    await watched.look_after(1)
    watched.consumer.assigned = set()
    await watched.look_after(1)

    told = [sample for metric in metrics.CONSUMER_LAG.collect() for sample in metric.samples]
    assert [sample for sample in told if sample.labels == {"topic": "documents", "partition": "0"}] == []
