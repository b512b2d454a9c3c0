"""A consumer that is alive and does nothing."""

import asyncio
from collections.abc import Iterable
from typing import Any, cast

import pytest
from chassis import metrics
from confluent_kafka import KafkaError, KafkaException
from messaging.broker_memory import BrokerMemory
from messaging.consuming import Consumption
from messaging.gathering import GatheringConsumer
from messaging.watchdog import Watchdog

from libs.messaging.tests.samples import until


class Broker:
    """As much of a broker as the watchdog asks: one partition, or several alike."""

    def __init__(self) -> None:
        self.numbers = {0}
        self.begin = 0
        self.end = 0
        self.committed_at: int | None = 0
        self.away = False

    async def partitions(self, topic: str) -> set[int]:
        if self.away:
            raise KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN))
        return self.numbers

    async def ends(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        return dict.fromkeys(partitions, self.end)

    async def begins(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        return dict.fromkeys(partitions, self.begin)

    async def committed(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        return {} if self.committed_at is None else dict.fromkeys(partitions, self.committed_at)


class Consumes:
    """As much of a consumption."""

    topic = "documents"
    group = "some.documents"

    def __init__(self, broker: Broker) -> None:
        self.questions = broker
        self.consumer: GatheringConsumer | None = cast("GatheringConsumer", self)
        self.moves = self.steps = 0
        self.stands_by = False
        self.assigned = {0}
        self.next_offsets: dict[int, int] = {}
        self.is_waiting = False
        self.is_handling = False
        self.replaced = 0

    def replace_client(self) -> bool:
        self.replaced += not self.is_handling
        return not self.is_handling


class Watched:
    """A watchdog with a clock of its own."""

    def __init__(self) -> None:
        self.now = 1.0
        self.ended: list[str] = []
        self.lost: list[str] = []
        self.memory = BrokerMemory()
        self.broker = Broker()
        self.consumes = Consumes(self.broker)
        self.watchdog = Watchdog(
            [cast("Consumption", self.consumes)],
            self.memory,
            on_lost=self._on_lost,
            end=self.ended.append,
            every=0.01,
            replaced_after=10,
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
    watched.broker.end = 10
    for seconds in (0, 30):
        await watched.look_after(seconds)
    assert watched.ended == []
    assert await watched.watchdog.alive() is None
    await watched.look_after(20)
    assert watched.ended == ["some.documents has not moved for 50 s, 10 records are waiting"]
    assert await watched.watchdog.alive() == "some.documents has not moved for 50 s"


async def test_a_consumer_without_progress_gets_another_client_first_and_only_once(watched: Watched) -> None:
    watched.broker.end = 10
    for seconds, replaced in ((0, 0), (5, 0), (5, 1), (5, 1), (5, 1)):
        await watched.look_after(seconds)
        assert watched.consumes.replaced == replaced
    watched.consumes.moves, watched.consumes.next_offsets = 1, {0: 1}
    for seconds, replaced in ((5, 1), (5, 1), (5, 2)):
        await watched.look_after(seconds)
        assert watched.consumes.replaced == replaced
    assert watched.ended == []


async def test_one_partition_that_stands_still_while_others_move_gets_another_client_and_ends_nothing(
    watched: Watched,
) -> None:
    watched.consumes.assigned = watched.broker.numbers = {0, 1}
    watched.broker.end = 10
    for replaced in (0, 0, 1, *[1] * 10):
        watched.consumes.moves += 1
        watched.consumes.next_offsets = {0: 4, 1: 10}
        await watched.look_after(5)
        assert watched.consumes.replaced == replaced
    watched.consumes.assigned = set()  # as while another client joins
    await watched.look_after(5)
    watched.consumes.assigned = {0, 1}
    for _ in range(5):
        watched.consumes.moves += 1
        await watched.look_after(5)
    assert watched.consumes.replaced == 1, "each time all partitions are without a consumer for a while"
    assert watched.ended == []


async def test_a_partition_may_have_to_wait_for_what_was_fetched_of_others(watched: Watched) -> None:
    watched.consumes.assigned = watched.broker.numbers = {0, 1}
    watched.broker.end = 1000
    for place in range(20):
        watched.consumes.moves += 1
        watched.consumes.next_offsets = {0: 4, 1: place}
        await watched.look_after(5)
    assert (watched.consumes.replaced, watched.ended) == (0, [])


async def test_a_client_is_replaced_when_what_it_has_fetched_is_handled(watched: Watched) -> None:
    watched.broker.end, watched.consumes.is_handling = 10, True
    for seconds in (0, 10, 5):
        await watched.look_after(seconds)
    assert watched.consumes.replaced == 0
    watched.consumes.is_handling = False
    await watched.look_after(5)
    assert watched.consumes.replaced == 1


async def test_slow_progress_is_progress(watched: Watched) -> None:
    watched.broker.end = 10
    for _ in range(5):
        await watched.look_after(30)
        watched.consumes.moves += 1
    assert watched.ended == []


async def test_nothing_to_do_is_not_stalling(watched: Watched) -> None:
    watched.broker.end = watched.broker.committed_at = 10
    for _ in range(5):
        await watched.look_after(30)
    watched.broker.end = 20
    watched.consumes.next_offsets = {0: 20}
    await watched.look_after(30)
    assert watched.ended == []


@pytest.mark.parametrize(("begin", "stalled"), [(0, True), (10, False)])
async def test_a_group_that_has_committed_nothing_has_the_whole_log_before_it(
    begin: int, stalled: bool, watched: Watched
) -> None:
    watched.broker.begin, watched.broker.end, watched.broker.committed_at = begin, 10, None
    for _ in range(3):
        await watched.look_after(30)
    assert (len(watched.ended) > 0) is stalled


async def test_without_partitions_it_is_the_group_that_must_move(watched: Watched) -> None:
    watched.consumes.assigned = set()
    watched.broker.end, watched.broker.committed_at = 10, 2
    for _ in range(4):
        await watched.look_after(30)
        watched.broker.committed_at = (watched.broker.committed_at or 0) + 1
    assert watched.ended == []
    for _ in range(3):
        await watched.look_after(30)
    assert len(watched.ended) > 0


async def test_a_handler_that_waits_for_its_database_is_left_alone(watched: Watched) -> None:
    watched.broker.end, watched.consumes.is_waiting = 10, True
    for _ in range(3):
        await watched.look_after(30)
    assert watched.ended == []
    assert await watched.watchdog.alive() is None, "a restart would help nobody"

    watched.consumes.is_waiting = False
    assert await watched.watchdog.alive() is None, "it counts from now"
    for _ in range(2):
        await watched.look_after(30)
    assert await watched.watchdog.alive() is not None


async def test_a_member_whose_partitions_are_all_others_leaves_it_to_them_to_move(watched: Watched) -> None:
    watched.consumes.assigned, watched.consumes.stands_by = set(), True
    watched.broker.end, watched.broker.committed_at = 10, 2
    for _ in range(4):
        await watched.look_after(30)
    assert (watched.ended, await watched.watchdog.alive()) == ([], None)


async def test_a_process_that_was_stopped_itself_has_all_the_time_again(watched: Watched) -> None:
    watched.broker.end = 10
    await watched.look_after(0)
    running = asyncio.create_task(watched.watchdog.run())
    await asyncio.sleep(0)
    watched.now += 60
    await until(lambda: watched.watchdog._progress["some.documents"].since == watched.now)
    running.cancel()
    assert watched.ended == []
    await watched.look_after(46)
    assert len(watched.ended) == 1


async def test_a_broker_that_is_away_is_no_reason_to_end(watched: Watched) -> None:
    watched.broker.end = 10
    running = asyncio.create_task(watched.watchdog.run())
    await until(lambda: watched.watchdog._progress["some.documents"].since > 0)
    watched.broker.away = True
    await until(lambda: watched.watchdog._progress["some.documents"].since == 0)
    watched.now += 1000
    assert await watched.watchdog.alive() is None
    watched.consumes.consumer = None
    running.cancel()
    assert watched.ended == []


async def test_a_log_that_has_become_shorter_is_told_of_once_and_read_by_another_client(watched: Watched) -> None:
    watched.memory.heard("documents", 0, 9)
    watched.broker.end = watched.broker.committed_at = 10
    await watched.look_after(1)
    assert watched.lost == []
    watched.broker.end = watched.broker.committed_at = 3
    await watched.look_after(1)
    await watched.look_after(1)
    assert watched.lost == ["documents"]
    assert watched.consumes.replaced == 1


async def test_lag_is_measured(watched: Watched) -> None:
    watched.broker.end, watched.broker.committed_at = 10, 4
    await watched.look_after(1)
    gauge: Any = metrics.CONSUMER_LAG.labels("documents", "0")
    assert gauge._value.get() == 6


async def test_the_lag_of_a_partition_that_went_to_another_replica_is_not_told_any_more(watched: Watched) -> None:
    watched.broker.end = 10
    await watched.look_after(1)
    watched.consumes.assigned = set()
    await watched.look_after(1)

    told = [sample for metric in metrics.CONSUMER_LAG.collect() for sample in metric.samples]
    assert [sample for sample in told if sample.labels == {"topic": "documents", "partition": "0"}] == []
