"""The topics exist."""

from collections.abc import Sequence
from concurrent.futures import Future
from typing import cast

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic
from contracts.topics import TOPICS, Topic
from docqa.embedded.broker import EmbeddedKafka
from messaging import topics
from messaging.broker_access import BrokerAccess
from structlog.testing import capture_logs


async def test_nothing_is_asked_of_a_broker_that_has_them(kafka: str) -> None:
    created = list[str]()
    await topics.ensure(BrokerAccess(kafka), on_created=created.append)
    assert created == []


async def test_another_number_of_partitions_is_told_and_lived_with() -> None:
    with EmbeddedKafka({topic.name: 2 for topic in TOPICS}) as broker, capture_logs() as told:
        await topics.ensure(BrokerAccess(broker.bootstrap_servers))
    assert {(line["topic"], line["partitions"]) for line in told} == {(topic.name, 2) for topic in TOPICS}


async def test_a_broker_that_cannot_create_topics_says_so() -> None:
    with EmbeddedKafka({}) as broker, pytest.raises(topics.TopicsMissing, match="missing topics: another"):
        await topics.ensure(BrokerAccess(broker.bootstrap_servers), [Topic("another", 1, key="another_id")])


async def test_what_was_created_is_told_though_another_is_refused() -> None:
    class Admin:
        def create_topics(self, new: Sequence[NewTopic], **_: object) -> dict[str, Future[None]]:
            made, refused = Future[None](), Future[None]()
            made.set_result(None)
            refused.set_exception(KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)))
            return {topic.topic: refused if topic.topic == "users" else made for topic in new}

    created = list[str]()
    with pytest.raises(topics.TopicsMissing, match=r"missing topics: users \(Broker: Topic authorization failed\)"):
        await topics._create(cast("AdminClient", Admin()), TOPICS, 1, created.append)
    assert created == ["documents", "indexes"]


def test_retention_and_compaction_are_the_contracts() -> None:
    configs = {topic.name: topics._configs(topic) for topic in TOPICS}
    assert configs == {
        "documents": {"retention.ms": "604800000"},
        "users": {"retention.ms": "604800000"},
        "indexes": {"cleanup.policy": "compact"},
    }
