"""The topic of documents as anybody may read it, held against what the services say that they sent."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import chain
from uuid import UUID

from aiokafka import AIOKafkaConsumer, TopicPartition
from contracts.envelope import Envelope
from contracts.topics import DOCUMENTS
from docqa.environment import SERVICES

from tests.integration.cluster import Cluster

READ_WITHIN = 30.0

Place = tuple[int, int]
"""Partition and offset."""


async def mistakes_in_topic(cluster: Cluster, documents: list[UUID]) -> list[str]:
    """What services said of the documents and the topic lacks, or has in another order.

    A fact may stand there more than once; its first place counts.
    """
    records = await _read(cluster.kafka)
    found: list[str] = []
    for service in SERVICES:
        rows = await cluster.rows(
            service,
            "SELECT event_id, subject, type, sent_partition, sent_offset FROM outbox"
            " WHERE topic = :topic AND subject = ANY(:ids) ORDER BY id",
            topic=DOCUMENTS.name,
            ids=list(map(str, documents)),
        )
        said: dict[str, list[UUID]] = defaultdict(list)
        for row in rows:
            said[row["subject"]].append(row["event_id"])
            place = (row["sent_partition"], row["sent_offset"])
            if place not in records or records[place].id != row["event_id"]:
                found.append(f"{service}: {row['type']} of {row['subject']} is not at {place}")
        heard = _heard(records, service)
        found += [f"{service}: {one} is told in another order" for one in said if heard.get(one) != said[one]]
    return found


def _heard(records: dict[Place, Envelope], service: str) -> dict[str, list[UUID]]:
    """What one service said of each subject, in the order of the topic, repeats left out."""
    heard: dict[str, dict[UUID, None]] = defaultdict(dict)
    for place in sorted(records):
        record = records[place]
        if record.source == service:
            heard[record.subject].setdefault(record.id)
    return {subject: list(ids) for subject, ids in heard.items()}


async def _read(kafka: str) -> dict[Place, Envelope]:
    """Everything that is in the topic now."""
    found: dict[Place, Envelope] = {}
    async with asyncio.timeout(READ_WITHIN), _reader(kafka) as reader:
        places = [TopicPartition(DOCUMENTS.name, number) for number in range(DOCUMENTS.partitions)]
        reader.assign(places)
        ends = await reader.end_offsets(places)
        while [place for place in places if await reader.position(place) < ends[place]]:
            for record in chain.from_iterable((await reader.getmany(timeout_ms=200)).values()):
                found[record.partition, record.offset] = Envelope.parse(record.value)
    return found


@asynccontextmanager
async def _reader(kafka: str) -> AsyncIterator[AIOKafkaConsumer]:
    reader = AIOKafkaConsumer(bootstrap_servers=kafka, enable_auto_commit=False, auto_offset_reset="earliest")
    await reader.start()
    try:
        yield reader
    finally:
        await reader.stop()
