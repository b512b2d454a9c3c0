"""Asking the broker what it holds, and how far a group has come, beside the consumers: they wait for no answer."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ClusterMetadata

from messaging.broker_access import BrokerAccess
from messaging.letting_go import let_go

# Whoever stops waits for what a thread is asking.
ASK_SECONDS = 1.0
SLICE_SECONDS = 0.3

NOT_YET = frozenset({KafkaError._TRANSPORT, KafkaError._TIMED_OUT})

_Question: TypeAlias = Callable[[list[TopicPartition], float], list[TopicPartition]]

LATEST, EARLIEST = -1, -2
"""In place of a time, to the question for the offset of a time."""


class BrokerQuestions:
    """Of one group. Each raises `KafkaException` while the broker does not answer, or lacks the topic.

    A client of its own, which consumes nothing: one that is being polled answers nobody else. And no `AdminClient`: if
    the broker dies while that is asked for offsets, an assertion of librdkafka 2.16.0 ends the process.
    """

    def __init__(self, kafka: BrokerAccess, group: str) -> None:
        self._kafka = kafka
        self._group = group
        self._client: Consumer | None = None

    async def partitions(self, topic: str) -> set[int]:
        """The topic's partitions, as the broker has them now."""
        client = self._connected()
        with self._forgetting():
            told = (await metadata(client, ASK_SECONDS, topic)).topics[topic]
        if told.error is not None:
            raise KafkaException(told.error)
        return set(told.partitions)

    async def ends(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """The offsets of the next records to come."""
        return await self._offsets(topic, partitions, LATEST)

    async def begins(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """The offsets of the oldest records that are kept, or of the next ones to come where there are none."""
        return await self._offsets(topic, partitions, EARLIEST)

    async def committed(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """What the group has committed, of those partitions of which it has committed anything."""
        asked = [TopicPartition(topic, number) for number in sorted(partitions)]
        told = await self._ask(self._connected().committed, asked)
        return {place.partition: place.offset for place in map(_answered, told) if place.offset >= 0}

    async def _offsets(self, topic: str, partitions: Iterable[int], which: int) -> dict[int, int]:
        asked = [TopicPartition(topic, number, which) for number in sorted(partitions)]
        told = await self._ask(self._connected().offsets_for_times, asked)
        return {place.partition: place.offset for place in map(_answered, told)}

    async def _ask(self, question: _Question, asked: list[TopicPartition]) -> list[TopicPartition]:
        with self._forgetting():
            return await asyncio.to_thread(question, asked, ASK_SECONDS) if asked else []

    @contextmanager
    def _forgetting(self) -> Iterator[None]:
        """A client that gave no answer is asked nothing more: it may be one that has forgotten its brokers."""
        try:
            yield
        except KafkaException:
            if self._client is not None:
                let_go(self._client)
            self._client = None
            raise

    def _connected(self) -> Consumer:
        """Made when it is first needed: it brings threads of its own."""
        if self._client is None:
            self._client = Consumer({**self._kafka.options(), "group.id": self._group})
        return self._client


async def metadata(
    client: AdminClient | Consumer | Producer, within: float, topic: str | None = None
) -> ClusterMetadata:
    """What the cluster holds: of this topic, or all. Raises `KafkaException` if it does not answer within the seconds.

    Asked in slices: the client's thread cannot be cancelled, and whoever stops would wait for it.
    """
    clock = asyncio.get_running_loop().time
    until = clock() + within
    while True:
        try:
            told: ClusterMetadata = await asyncio.to_thread(client.list_topics, topic, SLICE_SECONDS)
        except KafkaException as error:
            if error.args[0].code() not in NOT_YET or clock() >= until:
                raise
        else:
            return told


def _answered(place: TopicPartition) -> TopicPartition:
    if place.error is not None:
        raise KafkaException(place.error)
    return place
