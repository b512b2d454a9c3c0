"""Asking the broker what it holds, and how far a group has come, beside the consumers: they wait for no answer."""

import asyncio
from collections.abc import Iterable
from concurrent.futures import Future
from typing import TypeVar

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ClusterMetadata, OffsetSpec

from messaging.broker_access import BrokerAccess

ASK_SECONDS = 4.0
SLICE_SECONDS = 0.3

NOT_YET = frozenset({KafkaError._TRANSPORT, KafkaError._TIMED_OUT})

T = TypeVar("T")


class BrokerQuestions:
    """Each raises `KafkaException`, or `TimeoutError`, while the broker does not answer."""

    def __init__(self, kafka: BrokerAccess) -> None:
        self._kafka = kafka
        self._client: AdminClient | None = None

    async def partitions(self, topic: str) -> set[int]:
        """The topic's partitions, as the broker has them now: none, if it does not know the topic."""
        told = await metadata(self._connected(), ASK_SECONDS, topic)
        return set(told.topics[topic].partitions)

    async def ends(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """The offsets of the next records to come."""
        return await self._offsets(topic, partitions, OffsetSpec.latest())

    async def begins(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """The offsets of the oldest records that are kept, or of the next ones to come where there are none."""
        return await self._offsets(topic, partitions, OffsetSpec.earliest())

    async def committed(self, group: str, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """What the group has committed, of those partitions of which it has committed anything."""
        asked = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, number) for number in sorted(partitions)])
        answer = self._connected().list_consumer_group_offsets([asked], request_timeout=ASK_SECONDS)
        told = (await _answered(answer[group])).topic_partitions or ()
        return {place.partition: place.offset for place in told if place.offset >= 0}

    async def _offsets(self, topic: str, partitions: Iterable[int], which: OffsetSpec) -> dict[int, int]:
        asked = {TopicPartition(topic, number): which for number in sorted(partitions)}
        answer = self._connected().list_offsets(asked, request_timeout=ASK_SECONDS) if asked else {}
        return {place.partition: (await _answered(told)).offset for place, told in answer.items()}

    def _connected(self) -> AdminClient:
        """Made when it is first needed: it brings threads of its own."""
        if self._client is None:
            self._client = AdminClient(self._kafka.options())
        return self._client


async def metadata(client: AdminClient | Producer, within: float, topic: str | None = None) -> ClusterMetadata:
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


async def _answered(answer: "Future[T]") -> T:
    async with asyncio.timeout(2 * ASK_SECONDS):
        return await asyncio.wrap_future(answer)
