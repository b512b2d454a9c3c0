"""The topics exist, with the shape that the contract gives them."""

import asyncio
from collections.abc import Sequence

import structlog
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic
from contracts.topics import TOPICS, Topic

from messaging.asking import metadata
from messaging.broker_access import BrokerAccess

REQUEST_SECONDS = 10.0
REPLICAS = 3  # or as many as there are brokers

log = structlog.stdlib.get_logger(__name__)


class TopicsMissing(Exception):
    """Topics are missing, and the broker creates none: whoever runs it has to."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"missing topics: {', '.join(names)}")
        self.names = tuple(names)


async def ensure(kafka: BrokerAccess, topics: Sequence[Topic] = TOPICS) -> set[str]:
    """Create what is missing, and give the names of what was created here.

    Raises `TopicsMissing` where the broker cannot create topics (the embedded one has them from its start), and
    `KafkaException` while the broker is away or refuses.
    """
    admin = AdminClient(kafka.options())
    cluster = await metadata(admin, REQUEST_SECONDS)
    existing = {name: len(topic.partitions) for name, topic in cluster.topics.items()}
    for topic in topics:
        if existing.get(topic.name, topic.partitions) != topic.partitions:
            log.warning(
                "a topic has another number of partitions",
                topic=topic.name,
                partitions=existing[topic.name],
                expected=topic.partitions,
            )
    missing = [topic for topic in topics if topic.name not in existing]
    if not missing:
        return set()
    if cluster.controller_id not in cluster.brokers:  # whom it would have to be asked of
        raise TopicsMissing([topic.name for topic in missing])
    return await _create(admin, missing, replicas=min(REPLICAS, len(cluster.brokers)))


async def _create(admin: AdminClient, missing: Sequence[Topic], *, replicas: int) -> set[str]:
    new = [NewTopic(topic.name, topic.partitions, replicas, config=_configs(topic)) for topic in missing]
    created = set()
    for name, future in admin.create_topics(
        new, operation_timeout=REQUEST_SECONDS, request_timeout=REQUEST_SECONDS
    ).items():
        try:
            await asyncio.wrap_future(future)
        except KafkaException as exception:
            error: KafkaError = exception.args[0]
            if error.code() != KafkaError.TOPIC_ALREADY_EXISTS:  # then another service was faster
                raise
        else:
            created.add(name)
            log.info("a topic was created", topic=name)
    return created


def _configs(topic: Topic) -> dict[str, str]:
    if topic.retention is None:
        return {"cleanup.policy": "compact"}
    return {"retention.ms": str(round(topic.retention.total_seconds() * 1000))}
