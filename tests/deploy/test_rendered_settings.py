"""Each service starts with the environment that its pod gets, and is told nothing that it does not know."""

import os
from pathlib import Path

import pytest
from chassis.settings import SERVICES, known_names, load
from docqa.env_example import settings_of
from sqlalchemy.engine import make_url

from tests.deploy.rendering import EXAMPLES, HELM, Object, Rendered, render
from tests.stubs.authority import Authority

REMOTE = {
    "models": {"chat": "openai:gpt-4.1-mini", "embedding": "google_genai:gemini-embedding-001"},
    "secrets": {"openaiApiKey": "sk-openai", "googleApiKey": "google", "s3AccessKey": "key", "s3SecretKey": "secret"},
}

GIVEN = {f"DOCQA_{service.upper()}_DATABASE_URL": f"postgresql+asyncpg://x@given/{service}" for service in SERVICES}


def environment(rendered: Rendered, service: str, secrets: dict[str, str] | None = None) -> dict[str, str]:
    return rendered.environment(_pod(rendered, "Deployment", _name(rendered, service)), secrets)


@pytest.fixture(autouse=True)
def _nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("DOCQA_") and name != HELM]:
        monkeypatch.delenv(name)


@pytest.fixture
def an_authority(tmp_path: Path) -> Path:
    """What a cluster would have in the Secret that is mounted."""
    file = tmp_path / "ca.crt"
    file.write_bytes(Authority().certificate)
    return file


@pytest.fixture(scope="module", params=[None, *EXAMPLES], ids=lambda file: file.stem if file else "defaults")
def rendered(request: pytest.FixtureRequest) -> Rendered:
    return render({}, *([request.param] if request.param else []))


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_takes_what_its_pod_is_told(
    rendered: Rendered, service: str, monkeypatch: pytest.MonkeyPatch, an_authority: Path
) -> None:
    made_here = _name(rendered, service) in rendered.names("Secret")
    told = environment(rendered, service, None if made_here else GIVEN)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    if authorities := told.get("DOCQA_KAFKA_CA_FILE"):
        assert authorities in _files(_pod(rendered, "Deployment", _name(rendered, service)))
        monkeypatch.setenv("DOCQA_KAFKA_CA_FILE", str(an_authority))

    settings = load(settings_of(service))

    assert set(told) <= known_names(settings_of(service))
    assert (settings.host, settings.port) == ("0.0.0.0", 8000)


@pytest.mark.parametrize("service", SERVICES)
def test_a_migration_is_told_its_database_and_no_more(service: str) -> None:
    rendered = render({"services": {service: {"database": {"password": "secret"}}}})
    (told,) = rendered.environment(_pod(rendered, "Job", f"docqa-{service}-migrate")).items()

    assert told[0] == f"DOCQA_{service.upper()}_DATABASE_URL"
    assert told[1] == environment(rendered, service)[told[0]]


def test_addresses_of_services_are_those_of_their_services() -> None:
    rendered = render({"service": {"port": 80}}, release="second")
    gateway = rendered.environment(_pod(rendered, "Deployment", "second-docqa-gateway"))
    addresses = {
        f"http://{each['metadata']['name']}:{each['spec']['ports'][0]['port']}" for each in rendered.of("Service")
    }

    assert {gateway[f"DOCQA_{name}_URL"] for name in ("AUTH", "GATEWAY_INGEST", "GATEWAY_QA")} < addresses


def test_a_password_may_be_anything() -> None:
    password = "p@ss/w:o r+d?%&#é"
    rendered = render({"services": {"ingest": {"database": {"password": password, "host": "other", "port": 6432}}}})
    url = make_url(environment(rendered, "ingest")["DOCQA_INGEST_DATABASE_URL"])

    assert (url.username, url.password, url.host, url.port, url.database) == (
        "ingest",
        password,
        "other",
        6432,
        "ingest",
    )


def test_large_numbers_stay_numbers() -> None:
    rendered = render({"services": {"gateway": {"settings": {"DOCQA_GATEWAY_MAX_FILE_BYTES": 52428800}}}})

    assert environment(rendered, "gateway")["DOCQA_GATEWAY_MAX_FILE_BYTES"] == "52428800"


def test_keys_go_to_those_alone_who_need_them() -> None:
    rendered = render(REMOTE)
    told = {service: set(environment(rendered, service)) for service in SERVICES}

    assert [name for name in SERVICES if "DOCQA_OPENAI_API_KEY" in told[name]] == ["qa"]
    assert {name for name in SERVICES if "DOCQA_GOOGLE_API_KEY" in told[name]} == {"embedder", "qa"}
    assert {name for name in SERVICES if "DOCQA_S3_SECRET_KEY" in told[name]} == set(SERVICES) - {"auth"}


def test_no_secret_lies_in_a_config_map() -> None:
    names = ("openaiApiKey", "googleApiKey", "s3AccessKey", "s3SecretKey", "operatorToken")
    secrets = {name: f"{name}-0123456789abcdef0123456789abcdef" for name in names}
    rendered = render({**REMOTE, "secrets": secrets, "services": {"qa": {"database": {"password": "of-qa"}}}})
    shown = str(rendered.of("ConfigMap") + rendered.of("Deployment") + rendered.of("Job"))

    assert [value for value in (*secrets.values(), "of-qa") if value in shown] == []


def test_a_password_for_kafka_is_each_services_and_no_migrations() -> None:
    kafka = {"security": "SASL_SSL", "saslMechanism": "PLAIN"}
    rendered = render({"kafka": kafka, "secrets": {"kafkaUsername": "docqa", "kafkaPassword": "of-kafka"}})

    for service in SERVICES:
        told = environment(rendered, service)
        assert (told["DOCQA_KAFKA_SECURITY"], told["DOCQA_KAFKA_SASL_MECHANISM"]) == ("SASL_SSL", "PLAIN")
        assert (told["DOCQA_KAFKA_USERNAME"], told["DOCQA_KAFKA_PASSWORD"]) == ("docqa", "of-kafka")
    assert "of-kafka" not in str(rendered.of("ConfigMap") + rendered.of("Deployment") + rendered.of("Job"))
    assert "KAFKA" not in str(rendered.of("Job"))


def test_a_secret_that_is_there_already_is_used_for_everything() -> None:
    rendered = render({"secrets": {"existingSecret": "given"}})

    assert not rendered.of("Secret")
    for _, spec in rendered.pod_specs():
        references = [each["valueFrom"]["secretKeyRef"]["name"] for each in spec["containers"][0]["env"]]
        assert set(references) == {"given"}
    for each in rendered.of("TriggerAuthentication"):
        assert each["spec"]["secretTargetRef"][0]["name"] == "given"


def test_kubernetes_adds_no_variables_of_its_own() -> None:
    """For a Service docqa-gateway it would set DOCQA_GATEWAY_PORT, which is a setting."""
    assert all(spec["enableServiceLinks"] is False for _, spec in render().pod_specs())


def _pod(rendered: Rendered, kind: str, name: str) -> Object:
    spec: Object = rendered.one(kind, name)["spec"]["template"]["spec"]
    return spec


def _files(spec: Object) -> set[str]:
    """The files that the container of a pod has from Secrets."""
    (container,) = spec["containers"]
    items = {each["name"]: each["secret"]["items"] for each in spec["volumes"] if "secret" in each}
    return {
        f"{mount['mountPath']}/{item['path']}"
        for mount in container["volumeMounts"]
        for item in items.get(mount["name"], [])
    }


def _name(rendered: Rendered, service: str) -> str:
    (found,) = (name for name in rendered.names("Deployment") if name.endswith(f"-{service}"))
    return found
