"""Settings: one environment for all services, and plain words for every mistake in it."""

from pathlib import Path
from typing import Annotated, ClassVar

import pytest
from chassis.settings import (
    ChromaSettings,
    ObjectStoreSettings,
    Origins,
    PerService,
    ServiceSettings,
    StrongSecret,
    load,
    names_of,
)
from pydantic import Field, SecretStr, ValidationError

from tests.stubs.authority import Authority


class QaLike(ServiceSettings, ObjectStoreSettings, ChromaSettings):
    service: ClassVar[str] = "qa"

    top_k: int = Field(default=8, ge=1, le=50)
    origins: Origins = Field(default=(), validation_alias="DOCQA_CORS_ORIGINS")
    signing_secret: StrongSecret | None = None
    tag: Annotated[str | None, PerService()] = None


REQUIRED = {
    "DOCQA_QA_PORT": "8004",
    "DOCQA_QA_DATABASE_URL": "postgresql+asyncpg://qa:hunter2@/qa",
    "DOCQA_KAFKA": "localhost:9092",
    "DOCQA_AUTH_URL": "http://auth:8001/",
    "DOCQA_OBJECT_STORE": "file:///var/docqa",
    "DOCQA_CHROMA_URL": "http://chroma:8000",
}


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in REQUIRED.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def refusal(capsys: pytest.CaptureFixture[str]) -> str:
    """What `load` printed when it refused."""
    with pytest.raises(SystemExit) as ended:
        load(QaLike)
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_a_complete_environment_is_read_and_frozen(env: pytest.MonkeyPatch) -> None:
    settings = load(QaLike)

    assert (settings.port, settings.kafka, settings.auth_url) == (8004, "localhost:9092", "http://auth:8001")
    with pytest.raises(ValidationError):
        settings.port = 1  # type: ignore[misc]


def test_a_password_in_an_address_is_not_shown(env: pytest.MonkeyPatch) -> None:
    env.setenv("DOCQA_S3_SECRET_KEY", "hunter2")

    assert "hunter2" not in repr(load(QaLike)) + str(load(QaLike))


def test_a_shared_setting_may_differ_for_one_service(env: pytest.MonkeyPatch) -> None:
    env.setenv("DOCQA_LOG_LEVEL", "info")
    env.setenv("DOCQA_QA_LOG_LEVEL", "debug")

    assert load(QaLike).log_level == "debug"


def test_an_empty_variable_says_nothing(env: pytest.MonkeyPatch) -> None:
    env.setenv("DOCQA_LOG_LEVEL", "")
    env.setenv("DOCQA_QA_TOP_K", "")

    assert load(QaLike).top_k == 8


def test_each_service_has_its_own_database(env: pytest.MonkeyPatch) -> None:
    assert names_of(QaLike, "database_url") == ["DOCQA_QA_DATABASE_URL"]
    assert names_of(QaLike, "tag") == ["DOCQA_QA_TAG"]
    assert names_of(QaLike, "top_k") == ["DOCQA_QA_TOP_K"]
    assert names_of(QaLike, "kafka") == ["DOCQA_QA_KAFKA", "DOCQA_KAFKA"]


def test_a_promised_name_is_taken_as_it_is_and_lists_are_split_at_commas(env: pytest.MonkeyPatch) -> None:
    env.setenv("DOCQA_CORS_ORIGINS", "https://a.example, https://b.example,")

    assert load(QaLike).origins == ("https://a.example", "https://b.example")


def test_what_other_services_and_tools_are_told_is_let_pass(env: pytest.MonkeyPatch) -> None:
    for name in ("DOCQA_GATEWAY_MAX_FILES", "DOCQA_DATA", "DOCQA_URL", "DOCQA_OPENAI_API_KEY", "DOCQA_TEST_X", "HOME"):
        env.setenv(name, "x")

    assert load(QaLike).port == 8004


@pytest.mark.parametrize(
    ("unknown", "meant"),
    [("DOCQA_QA_TOPK", "DOCQA_QA_TOP_K"), ("DOCQA_KAFKAA", "DOCQA_KAFKA"), ("DOCQA_LOGLEVEL", "DOCQA_LOG_LEVEL")],
)
def test_an_unknown_variable_is_refused_with_the_nearest_known_one(
    env: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], unknown: str, meant: str
) -> None:
    env.setenv(unknown, "3")

    assert f"{unknown} is not a setting. Did you mean {meant}?" in refusal(capsys)


def test_every_mistake_is_told_at_once_and_none_with_its_value(
    env: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    env.delenv("DOCQA_KAFKA")
    env.setenv("DOCQA_QA_PORT", "many")
    env.setenv("DOCQA_QA_DATABASE_URL", "postgresql://qa:hunter2@/qa")
    env.setenv("DOCQA_QA_TOP_K", "0")
    env.setenv("DOCQA_QA_SIGNING_SECRET", "changemechangemechangemechangeme")
    env.setenv("DOCQA_NONSENSE_ALTOGETHER", "1")

    said = refusal(capsys)

    assert "qa cannot start" in said
    assert "DOCQA_QA_KAFKA or DOCQA_KAFKA is missing. Kafka bootstrap servers" in said
    assert "DOCQA_QA_PORT: Input should be a valid integer" in said
    assert "DOCQA_QA_DATABASE_URL: must begin with postgresql+asyncpg://" in said
    assert "DOCQA_QA_TOP_K: Input should be greater than or equal to 1" in said
    assert "DOCQA_QA_SIGNING_SECRET: is too weak" in said
    assert "DOCQA_NONSENSE_ALTOGETHER is not a setting." in said
    assert "hunter2" not in said
    assert "changeme" not in said


def test_an_address_that_is_none_is_refused(env: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    env.setenv("DOCQA_CHROMA_URL", "chroma:8000")

    assert "DOCQA_CHROMA_URL: must begin with http:// or https://" in refusal(capsys)


@pytest.mark.parametrize(
    "address", ["qa:hunter2@db:54E2/qa", "qa:hunter2@db:70000/qa", "qa:hunter2@@db/qa", "qa:hunter2@[db/qa", "qa db/qa"]
)
def test_a_database_whose_address_cannot_be_read_is_refused(
    env: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], address: str
) -> None:
    env.setenv("DOCQA_QA_DATABASE_URL", f"postgresql+asyncpg://{address}")
    said = refusal(capsys)

    assert "DOCQA_QA_DATABASE_URL: cannot be read as postgresql+asyncpg://role:password@host:port/database" in said
    assert "hunter2" not in said


@pytest.mark.parametrize(
    "address",
    ["qa:p#w/x?@db/qa", "qa@[::1]:5432/qa", "qa@10.0.0.1/qa?ssl=require", "qa:x@/qa?host=/run/a b&port=5432", "/qa"],
)
def test_a_database_may_be_anywhere(env: pytest.MonkeyPatch, address: str) -> None:
    env.setenv("DOCQA_QA_DATABASE_URL", f"postgresql+asyncpg://{address}")

    assert load(QaLike).database_url.endswith(address)


@pytest.mark.parametrize("kafka", ["kafka", "kafka:", "kafka:abc", "kafka:70000", "a:9092,,b:9092", "a:9092;b:9092"])
def test_a_kafka_that_nobody_could_find_is_refused(
    env: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kafka: str
) -> None:
    env.setenv("DOCQA_KAFKA", kafka)

    assert "DOCQA_KAFKA: must be host:port, several of them separated by commas" in refusal(capsys)


@pytest.mark.parametrize("kafka", ["a.b-c:9092, b:9093", "[::1]:9092", "10.0.0.1:9092", "SASL_SSL://a:9092"])
def test_a_kafka_may_have_several_brokers(env: pytest.MonkeyPatch, kafka: str) -> None:
    env.setenv("DOCQA_KAFKA", kafka)

    assert load(QaLike).kafka == kafka


def told(env: pytest.MonkeyPatch, kafka: dict[str, str]) -> None:
    for name, value in kafka.items():
        env.setenv(f"DOCQA_KAFKA_{name}", value)


SCRAM = {"SASL_MECHANISM": "SCRAM-SHA-512", "USERNAME": "docqa", "PASSWORD": "hunter2"}


def test_a_kafka_may_want_a_password_and_it_is_not_shown(env: pytest.MonkeyPatch) -> None:
    told(env, {"SECURITY": "SASL_SSL", **SCRAM})
    settings = load(QaLike)

    assert (settings.kafka_security, settings.kafka_sasl_mechanism) == ("SASL_SSL", "SCRAM-SHA-512")
    assert (settings.kafka_username, settings.kafka_password) == ("docqa", SecretStr("hunter2"))
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    ("kafka", "said"),
    [
        (
            {"SECURITY": "TLS"},
            "DOCQA_KAFKA_SECURITY: Input should be 'PLAINTEXT', 'SSL', 'SASL_PLAINTEXT' or 'SASL_SSL'",
        ),
        ({"SECURITY": "SASL_SSL", **SCRAM, "SASL_MECHANISM": "GSSAPI"}, "DOCQA_KAFKA_SASL_MECHANISM: Input should be"),
        (
            {"SECURITY": "SASL_SSL", "SASL_MECHANISM": "PLAIN"},
            "DOCQA_KAFKA_USERNAME, DOCQA_KAFKA_PASSWORD must be set: DOCQA_KAFKA_SECURITY is SASL_SSL",
        ),
        (
            {"SECURITY": "SASL_PLAINTEXT", "USERNAME": "docqa", "PASSWORD": "hunter2"},
            "DOCQA_KAFKA_SASL_MECHANISM must be set: DOCQA_KAFKA_SECURITY is SASL_PLAINTEXT",
        ),
        ({"USERNAME": "docqa"}, "DOCQA_KAFKA_USERNAME would never be used: DOCQA_KAFKA_SECURITY is PLAINTEXT"),
        ({"SECURITY": "SSL", "PASSWORD": "hunter2"}, "DOCQA_KAFKA_PASSWORD would never be used"),
        (
            {"SECURITY": "SSL", "CA_FILE": "/nowhere/ca.crt"},
            "DOCQA_KAFKA_CA_FILE: is not a file with certificates (PEM) that can be read",
        ),
        ({"SECURITY": "SSL", "CA_FILE": __file__}, "DOCQA_KAFKA_CA_FILE: is not a file with certificates"),
    ],
)
def test_a_kafka_that_is_told_too_much_or_too_little_is_refused(
    env: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kafka: dict[str, str], said: str
) -> None:
    told(env, kafka)
    refused = refusal(capsys)

    assert said in refused
    assert "hunter2" not in refused


def test_authorities_without_tls_are_refused(
    env: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    told(env, {"SECURITY": "SASL_PLAINTEXT", **SCRAM, "CA_FILE": str(an_authority(tmp_path))})

    assert "DOCQA_KAFKA_CA_FILE would never be used: DOCQA_KAFKA_SECURITY is SASL_PLAINTEXT" in refusal(capsys)


def an_authority(folder: Path) -> Path:
    file = folder / "ca.crt"
    file.write_bytes(Authority().certificate)
    return file


def test_a_strong_secret_is_accepted(env: pytest.MonkeyPatch) -> None:
    env.setenv("DOCQA_QA_SIGNING_SECRET", "0123456789abcdef0123456789abcdef")

    assert load(QaLike).signing_secret == SecretStr("0123456789abcdef0123456789abcdef")


def test_a_secret_that_no_header_can_carry_is_refused(
    env: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    env.setenv("DOCQA_QA_SIGNING_SECRET", "0123456789abcdef0123456789abcdeü")
    refused = refusal(capsys)

    assert "DOCQA_QA_SIGNING_SECRET: has characters that cannot be sent in a header" in refused
    assert "0123456789" not in refused


def test_what_is_given_directly_wins_over_the_environment(env: pytest.MonkeyPatch) -> None:
    assert QaLike(top_k=3).top_k == 3
