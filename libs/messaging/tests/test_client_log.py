"""What the broker's client says while the broker is away."""

from confluent_kafka import KafkaError
from messaging.client_log import Complaints
from structlog.testing import capture_logs


def test_each_kind_of_complaint_is_told_once_in_a_while_and_the_others_are_counted() -> None:
    now = 100.0
    complaints = Complaints(seconds=30, clock=lambda: now)
    away, unknown = KafkaError(KafkaError._TRANSPORT), KafkaError(KafkaError._RESOLVE)

    with capture_logs() as told:
        for _ in range(50):
            complaints(away)
            complaints(unknown)
        now += 31
        complaints(away)
        now += 31
        complaints(away)

    assert [(line["error"], line["before"]) for line in told] == [
        ("_TRANSPORT", 0),
        ("_RESOLVE", 0),
        ("_TRANSPORT", 49),
        ("_TRANSPORT", 0),
    ]
