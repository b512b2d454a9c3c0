"""Positions are committed behind the handling, and never beyond it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka.errors import CommitFailedError, KafkaConnectionError
from aiokafka.structs import TopicPartition
from messaging.acking import Acknowledgements

from libs.messaging.tests.samples import until

ONE, TWO = TopicPartition("documents", 1), TopicPartition("documents", 2)


class Consumer:
    """Remembers what was committed, and fails as it is told."""

    def __init__(self) -> None:
        self.assigned = {ONE, TWO}
        self.commits: list[dict[TopicPartition, int]] = []
        self.failures: list[Exception] = []
        self.gate = asyncio.Event()
        self.gate.set()

    def assignment(self) -> set[TopicPartition]:
        return self.assigned

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        self.commits.append(offsets)


@asynccontextmanager
async def running(acknowledgements: Acknowledgements) -> AsyncIterator[None]:
    task = asyncio.create_task(acknowledgements.run())
    yield
    task.cancel()


async def test_a_lone_record_is_acknowledged_soon() -> None:
    consumer = Consumer()
    acknowledgements = Acknowledgements(consumer)
    async with running(acknowledgements):
        acknowledgements.done("documents", 1, 41)
        await until(lambda: consumer.commits == [{ONE: 42}])


async def test_a_burst_shares_its_commits() -> None:
    consumer = Consumer()
    consumer.gate.clear()
    acknowledgements = Acknowledgements(consumer)
    async with running(acknowledgements):
        acknowledgements.done("documents", 1, 0)
        await asyncio.sleep(0)
        for offset in range(1, 100):
            acknowledgements.done("documents", 1, offset)
            acknowledgements.done("documents", 2, offset)
        consumer.gate.set()
        await until(lambda: consumer.commits[-1:] == [{ONE: 100, TWO: 100}])
    assert len(consumer.commits) <= 2


async def test_partitions_that_went_to_another_member_are_left_to_it() -> None:
    consumer = Consumer()
    acknowledgements = Acknowledgements(consumer)
    acknowledgements.done("documents", 1, 1)
    acknowledgements.done("documents", 2, 1)
    consumer.assigned = {TWO}
    assert await acknowledgements.flush()
    assert consumer.commits == [{TWO: 2}]
    acknowledgements.done("documents", 2, 2)
    acknowledgements.forget({TWO})
    assert await acknowledgements.flush()
    assert consumer.commits == [{TWO: 2}]


@pytest.mark.parametrize("newer", [False, True])
async def test_what_the_broker_did_not_take_stays_to_be_committed(newer: bool) -> None:
    consumer = Consumer()
    consumer.failures = [KafkaConnectionError()]
    acknowledgements = Acknowledgements(consumer)
    acknowledgements.done("documents", 1, 1)
    assert not await acknowledgements.flush()
    if newer:
        acknowledgements.done("documents", 1, 2)
    assert await acknowledgements.flush()
    assert consumer.commits == [{ONE: 3 if newer else 2}]


async def test_a_commit_that_lost_its_generation_is_forgotten() -> None:
    consumer = Consumer()
    consumer.failures = [CommitFailedError()]
    acknowledgements = Acknowledgements(consumer)
    acknowledgements.done("documents", 1, 1)
    assert await acknowledgements.flush()
    assert await acknowledgements.flush()
    assert consumer.commits == []
