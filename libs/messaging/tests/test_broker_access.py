"""What the client is told of a broker."""

from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from messaging.broker_access import BrokerAccess
from pydantic import SecretStr

from libs.messaging.tests.samples import SomeSettings
from tests.stubs.authority import Authority

SCRAM: dict[str, Any] = {
    "kafka_sasl_mechanism": "SCRAM-SHA-256",
    "kafka_username": "docqa",
    "kafka_password": SecretStr("hunter2"),
}


def access(**told: Any) -> BrokerAccess:
    return BrokerAccess.of(
        SomeSettings(
            port=0,
            database_url="postgresql+asyncpg://some:secret@/some",
            kafka="one:9092,two:9092",
            auth_url="http://127.0.0.1:1",
            **told,
        )
    )


def shown(access: BrokerAccess) -> dict[str, Any]:
    """What a broker has to do with, and not how its troubles are told."""
    ours = ("bootstrap.servers", "security.protocol", "sasl.", "ssl.")
    return {name: value for name, value in access.options().items() if name.startswith(ours)}


def test_an_open_broker_is_shown_nothing() -> None:
    assert shown(access()) == {"bootstrap.servers": "one:9092,two:9092", "security.protocol": "plaintext"}


def test_a_password_is_shown_to_the_broker_alone() -> None:
    guarded = access(kafka_security="SASL_PLAINTEXT", **SCRAM)

    assert shown(guarded) == {
        "bootstrap.servers": "one:9092,two:9092",
        "security.protocol": "sasl_plaintext",
        "sasl.mechanism": "SCRAM-SHA-256",
        "sasl.username": "docqa",
        "sasl.password": "hunter2",
    }
    assert "hunter2" not in repr(guarded)


@pytest.mark.parametrize("told", [{"kafka_security": "SSL"}, {"kafka_security": "SASL_SSL", **SCRAM}])
def test_over_tls_a_broker_proves_who_it_is(told: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "ca.crt"
    file.write_bytes(Authority().certificate)
    assert shown(access(**told, kafka_ca_file=file))["ssl.ca.location"] == str(file)


def test_without_authorities_of_its_own_a_broker_is_held_against_the_systems() -> None:
    assert shown(access(kafka_security="SSL"))["ssl.ca.location"] == "probe"


@pytest.mark.parametrize("client", [Consumer, Producer, AdminClient])
def test_every_client_takes_them(client: Any) -> None:
    group = {"group.id": "some"} if client is Consumer else {}
    client(access(kafka_security="SASL_SSL", **SCRAM).options() | group)
