"""The topics exist, with the shape that the contract gives them."""

import asyncio
from collections.abc import Callable, Iterable, Sequence

import structlog
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic
from contracts.topics import TOPICS, Topic

from messaging.asking import metadata
from messaging.broker_access import BrokerAccess
from messaging.letting_go import let_go

REQUEST_SECONDS = 10.0
REPLICAS = 3  # or as many as there are brokers

log = structlog.stdlib.get_logger(__name__)


class TopicsMissing(Exception):
    """Topics are missing, and cannot be made from here: whoever runs the broker has to."""

    def __init__(self, names: Iterable[str], reason: str) -> None:
        super().__init__(f"missing topics: {', '.join(names)} ({reason})")


async def ensure(
    kafka: BrokerAccess, topics: Sequence[Topic] = TOPICS, *, on_created: Callable[[str], None] = lambda _: None
) -> None:
    """Create what is missing, and tell the name of each that was created here.

    Raises `TopicsMissing` where the broker creates none (the embedded one has them from its start) or refuses, and
    `KafkaException` while it is away.
    """
    admin = AdminClient(kafka.options())
    try:
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
        if missing := [topic for topic in topics if topic.name not in existing]:
            if cluster.controller_id not in cluster.brokers:  # whom it would have to be asked of
                raise TopicsMissing([topic.name for topic in missing], "the broker makes none")
            await _create(admin, missing, min(REPLICAS, len(cluster.brokers)), on_created)
    finally:
        let_go(admin)


async def _create(
    admin: AdminClient, missing: Sequence[Topic], replicas: int, on_created: Callable[[str], None]
) -> None:
    new = [NewTopic(topic.name, topic.partitions, replicas, config=_configs(topic)) for topic in missing]
    refused: dict[str, KafkaError] = {}
    for name, future in admin.create_topics(
        new, operation_timeout=REQUEST_SECONDS, request_timeout=REQUEST_SECONDS
    ).items():
        try:
            await asyncio.wrap_future(future)
        except KafkaException as exception:
            error: KafkaError = exception.args[0]
            if error.code() != KafkaError.TOPIC_ALREADY_EXISTS:  # then another service was faster
                refused[name] = error
        else:
            log.info("a topic was created", topic=name)
            on_created(name)
    if refused:
        raise TopicsMissing(refused, "; ".join(sorted({error.str() for error in refused.values()})))


def _configs(topic: Topic) -> dict[str, str]:
    if topic.retention is None:
        return {"cleanup.policy": "compact"}
    return {"retention.ms": str(round(topic.retention.total_seconds() * 1000))}
