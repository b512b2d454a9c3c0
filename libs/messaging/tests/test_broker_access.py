"""What aiokafka's clients are told of a broker."""

import ssl
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
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


def test_an_open_broker_is_shown_nothing() -> None:
    assert access().options() == {"bootstrap_servers": ["one:9092", "two:9092"], "security_protocol": "PLAINTEXT"}


def test_a_password_is_shown_to_the_broker_alone() -> None:
    guarded = access(kafka_security="SASL_PLAINTEXT", **SCRAM)

    assert guarded.options() == {
        "bootstrap_servers": ["one:9092", "two:9092"],
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "SCRAM-SHA-256",
        "sasl_plain_username": "docqa",
        "sasl_plain_password": "hunter2",
    }
    assert "hunter2" not in repr(guarded)


@pytest.mark.parametrize("told", [{"kafka_security": "SSL"}, {"kafka_security": "SASL_SSL", **SCRAM}])
def test_over_tls_a_broker_proves_who_it_is(told: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "ca.crt"
    file.write_bytes(Authority().certificate)

    context = access(**told, kafka_ca_file=file).options()["ssl_context"]

    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    (trusted,) = context.get_ca_certs()
    assert trusted["subject"] == ((("commonName", "An authority of a test"),),)


def test_without_authorities_of_its_own_a_broker_is_held_against_the_systems() -> None:
    context = access(kafka_security="SSL").options()["ssl_context"]

    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.cert_store_stats() == ssl.create_default_context().cert_store_stats()


@pytest.mark.parametrize("client", [AIOKafkaConsumer, AIOKafkaProducer, AIOKafkaAdminClient])
async def test_every_client_takes_them(client: Any) -> None:
    client(**access(kafka_security="SASL_SSL", **SCRAM).options())
