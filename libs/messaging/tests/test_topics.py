"""The topics exist."""

import pytest
from contracts.topics import TOPICS, Topic
from docqa.embedded.broker import EmbeddedKafka
from messaging import topics
from messaging.broker_access import BrokerAccess


async def test_nothing_is_asked_of_a_broker_that_has_them(kafka: str) -> None:
    assert await topics.ensure(BrokerAccess(kafka)) == set()


async def test_another_number_of_partitions_is_told_and_lived_with() -> None:
    with EmbeddedKafka({topic.name: 2 for topic in TOPICS}) as broker:
        assert await topics.ensure(BrokerAccess(broker.bootstrap_servers)) == set()


async def test_a_broker_that_cannot_create_topics_says_so() -> None:
    with EmbeddedKafka({}) as broker, pytest.raises(topics.TopicsMissing, match="missing topics: another"):
        await topics.ensure(BrokerAccess(broker.bootstrap_servers), [Topic("another", 1, key="another_id")])


def test_retention_and_compaction_are_the_contracts() -> None:
    configs = {topic.name: topics._configs(topic) for topic in TOPICS}
    assert configs == {
        "documents": {"retention.ms": "604800000"},
        "users": {"retention.ms": "604800000"},
        "indexes": {"cleanup.policy": "compact"},
    }
