"""What the broker's client says while the broker is away."""

import logging

import pytest
from messaging import client_log, delivery


def test_a_message_is_told_once_in_a_while_and_the_others_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    now = 100.0
    client = logging.getLogger("some.client")
    client.addFilter(client_log.OnceInAWhile(seconds=30, clock=lambda: now))
    for node in range(50):
        client.error("Unable to connect to node %s", node)
        client.error("Topic %s not found", "documents")
    now += 31
    client.error("Unable to connect to node %s", 50)
    now += 31
    client.error("Unable to connect to node %s", 51)

    assert caplog.messages == [
        "Unable to connect to node 0",
        "Topic documents not found",
        "Unable to connect to node 50 (and 49 times more since it was said last)",
        "Unable to connect to node 51",
    ]


def test_every_logger_of_the_client_is_quietened(caplog: pytest.LogCaptureFixture) -> None:
    assert delivery  # it loads the client
    client_log.quieten()
    client_log.quieten()
    for name in ("aiokafka", "aiokafka.cluster", "aiokafka.consumer.fetcher", "aiokafka.producer.sender"):
        for _ in range(3):
            logging.getLogger(name).error("a test of %s", name)

    assert len(caplog.messages) == 4
