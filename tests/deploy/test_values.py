"""What the values' schema takes and refuses; Helm holds every install and upgrade against it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from chassis.settings import SERVICES, SHARED_NAMES, known_names
from docqa.env_example import settings_of
from jsonschema import Draft7Validator

from tests.deploy.rendering import CHART, EXAMPLES

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())

HAS_A_PLACE = {
    *("DATABASE_URL", "PORT", "KAFKA", "AUTH_URL", "QA_URL", "INGEST_URL", "CHROMA_URL", "OPERATOR_TOKEN"),
    *("KAFKA_SECURITY", "KAFKA_SASL_MECHANISM", "KAFKA_USERNAME", "KAFKA_PASSWORD", "KAFKA_CA_FILE"),
    *("OBJECT_STORE", "S3_ENDPOINT", "S3_ACCESS_KEY", "S3_SECRET_KEY", "S3_REGION", "S3_SECURE"),
    *("EMBEDDING_MODEL", "CHAT_MODEL", "OPENAI_API_KEY", "OPENAI_BASE_URL", "GOOGLE_API_KEY", "GOOGLE_BASE_URL"),
}
"""Settings that the chart derives from values of their own: said twice, they could contradict each other."""


def complaints(path: str, value: object) -> list[str]:
    """What the schema says of the defaults with one value changed; `path` as in helm's --set."""
    values = json.loads(json.dumps(DEFAULTS))
    *parents, last = path.split(".")
    place = values
    for parent in parents:
        place = place.setdefault(parent, {})
    place[last] = value
    return [error.message for error in Draft7Validator(SCHEMA).iter_errors(values)]


def free_names(service: str) -> set[str]:
    """The settings that a service knows and that have no place of their own in the values."""
    taken = {f"DOCQA_{owner}{name}" for name in HAS_A_PLACE for owner in ("", f"{service.upper()}_")}
    return known_names(settings_of(service)) - taken


def allowed_names(place: dict[str, Any]) -> set[str]:
    return set(place["properties"]["settings"]["properties"])


def objects(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "properties" in schema:
        yield schema
    for value in schema.values():
        if isinstance(value, dict):
            yield from objects(value)


def test_the_schema_is_one() -> None:
    Draft7Validator.check_schema(SCHEMA)


def test_every_default_is_described_and_every_description_has_a_default() -> None:
    described = SCHEMA["properties"]
    assert set(DEFAULTS) == set(described) - {"global"}
    for service in SERVICES:
        assert set(DEFAULTS["services"][service]) == set(described["services"]["properties"][service]["properties"])


def test_no_name_is_taken_that_the_schema_does_not_know() -> None:
    assert all(each.get("additionalProperties") is not None for each in objects(SCHEMA))


@pytest.mark.parametrize("file", [CHART / "values.yaml", *EXAMPLES], ids=lambda path: path.name)
def test_what_we_give_as_values_is_taken(file: Any) -> None:
    assert [error.message for error in Draft7Validator(SCHEMA).iter_errors(yaml.safe_load(file.read_text()))] == []


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_can_be_told_what_it_knows_and_nothing_else(service: str) -> None:
    assert allowed_names(SCHEMA["properties"]["services"]["properties"][service]) == free_names(service)


def test_what_is_told_to_several_services_is_known_to_each_of_them() -> None:
    every = set.intersection(*map(free_names, SERVICES)) & SHARED_NAMES
    models = (free_names("embedder") & free_names("qa") & SHARED_NAMES) - every

    assert allowed_names(SCHEMA) == every
    assert allowed_names(SCHEMA["properties"]["models"]) == models


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("replicas", 3),
        ("services.gateway.replica", 3),
        ("services.worker", {}),
        ("services.gateway.replicas", -1),
        ("services.gateway.replicas", 0),
        ("services.gateway.replicas", "three"),
        ("services.ingest.autoscaling.minReplicas", 0),
        ("services.embedder.autoscaling.dueJobsPerReplica", 0),
        ("services.gateway.autoscaling.dueJobsPerReplica", 10),
        ("services.gateway.autoscaling.targetCPU", 170),
        ("services.gateway.resources", {"requests": {"cpus": 1}}),
        ("services.gateway.resources", {"limits": {"memory": "1 GB"}}),
        ("services.gateway.settings", {"DOCQA_GATEWAY_MAX_FILE": 3}),
        ("services.gateway.settings", {"DOCQA_QA_LOG_LEVEL": "info"}),
        ("services.gateway.settings", {"DOCQA_OTLP_ENDPOINT": "collector:4318"}),
        ("services.qa.settings", {"DOCQA_QA_OTLP_ENDPOINT": "collector:4318"}),
        ("services.gateway.settings", {"DOCQA_GATEWAY_DATABASE_URL": "postgresql+asyncpg://elsewhere/gateway"}),
        ("services.qa.digest", "latest"),
        ("services.qa.database.port", 70000),
        ("settings.DOCQA_LOG_LEVEL", "loud"),
        ("settings.DOCQA_OTLP_ENDPOINT", "collector:4318"),
        ("settings.DOCQA_LOGLEVEL", "info"),
        ("models.settings.DOCQA_CORS_ORIGINS", "*"),
        ("models.chat", "gpt-4.1-mini"),
        ("models.embedding", "extractive"),
        ("models.openaiBaseUrl", "llm.example.org/v1"),
        ("kafka.bootstrapServers", "kafka"),
        ("kafka.bootstrapServers", "kafka-0:9092;kafka-1:9092"),
        ("kafka.security", "TLS"),
        ("kafka.saslMechanism", "SCRAM"),
        ("chroma.url", "docqa-chroma:8000"),
        ("s3.endpoint", "https://s3.example.org"),
        ("s3.bucket", "Documents"),
        ("postgres.host", "postgresql://server"),
        ("postgres.port", 0),
        ("postgres.tls", "yes"),
        ("secrets.operatorToken", "short"),
        ("secrets.operatorToken", "schlüssel" * 4),
        ("image.tag", "with space"),
        ("image.pullPolicy", "Sometimes"),
        ("disruptionBudget.maxUnavailable", 0),
        ("disruptionBudget.maxUnavailable", "0%"),
        ("pods.terminationGracePeriodSeconds", 10),
        ("scaling.down.pods", 0),
        ("keda.kafkaVersion", "1.0.0"),
        ("networkPolicy.dns", [{"ipBlock": {"cidr": "10.0.0.1"}}]),
        ("networkPolicy.metricsFrom", [{}]),
        ("ingress.host", "https://docqa.example.org"),
    ],
)
def test_nonsense_is_refused(path: str, value: object) -> None:
    assert complaints(path, value)
