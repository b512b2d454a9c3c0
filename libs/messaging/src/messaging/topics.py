"""The topics exist, with the shape that the contract gives them."""

from collections.abc import Sequence

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code
from contracts.topics import TOPICS, Topic

from messaging.broker_access import BrokerAccess

REQUEST_MS = 10_000
REPLICAS = 3  # or as many as there are brokers

log = structlog.stdlib.get_logger(__name__)


class TopicsMissing(Exception):
    """Topics are missing, and the broker creates none: whoever runs it has to."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"missing topics: {', '.join(names)}")
        self.names = tuple(names)


async def ensure(kafka: BrokerAccess, topics: Sequence[Topic] = TOPICS) -> set[str]:
    """Create what is missing, and give the names of what was created here.

    Raises `TopicsMissing` where the broker cannot create topics; the embedded one has them from its start.
    """
    admin = AIOKafkaAdminClient(**kafka.options(), request_timeout_ms=REQUEST_MS)
    try:
        await admin.start()
        existing = {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()}
        for topic in topics:
            if existing.get(topic.name, topic.partitions) != topic.partitions:
                log.warning(
                    "a topic has another number of partitions",
                    topic=topic.name,
                    partitions=existing[topic.name],
                    expected=topic.partitions,
                )
        missing = [topic for topic in topics if topic.name not in existing]
        return await _create(admin, missing) if missing else set()
    finally:
        await admin.close()


async def _create(admin: AIOKafkaAdminClient, missing: Sequence[Topic]) -> set[str]:
    # The client cannot leave the number of replicas to the broker's own setting.
    replicas = min(REPLICAS, len((await admin.describe_cluster())["brokers"]))
    new = [NewTopic(topic.name, topic.partitions, replicas, topic_configs=_configs(topic)) for topic in missing]
    try:
        answer = await admin.create_topics(new)
    except AttributeError:  # how this client says that there is no controller to ask
        raise TopicsMissing([topic.name for topic in missing]) from None
    created = set()
    for name, code, *_ in answer.topic_errors:
        error = for_code(code)
        if error is TopicAlreadyExistsError:
            continue  # another service was faster
        if code:
            raise error(f"topic {name}")
        created.add(name)
        log.info("a topic was created", topic=name)
    return created


def _configs(topic: Topic) -> dict[str, str]:
    if topic.retention is None:
        return {"cleanup.policy": "compact"}
    return {"retention.ms": str(round(topic.retention.total_seconds() * 1000))}
