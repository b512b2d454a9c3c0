"""docker-compose.yml: who can be reached, as whom everything runs, and who is told which secret."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from chassis.settings import SERVICES, known_names
from contracts.topics import TOPICS
from docqa import env_example

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"
PARTS = sorted((ROOT / env_example.COMPOSE_FOLDER).glob("*.yml"))
OWN_ENGINES = [path for path in PARTS if path.name.startswith("own-")]

VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)")
WITH_DEFAULT = re.compile(r"\$\{([A-Z0-9_]+):-([^${}]*)\}")
PINNED = re.compile(r"(?P<name>[a-z0-9./-]+):(?P<tag>v?\d[\w.-]*|RELEASE\.[\w-]+)")

LOOPBACK = "127.0.0.1:"

Container = dict[str, Any]


def containers(path: Path = FILE) -> dict[str, Container]:
    found: dict[str, Container] = yaml.safe_load(path.read_text("utf-8"))["services"]
    return found


def ours() -> dict[str, Container]:
    """Whatever runs an image that is built here."""
    return {name: one for name, one in containers().items() if one["image"].startswith("docqa-")}


def version() -> str:
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"])


def test_the_five_services_and_their_migrations_are_what_we_build() -> None:
    assert set(ours()) == {*SERVICES, *(f"migrate-{service}" for service in SERVICES)}


def test_only_the_gateway_is_published_and_on_this_machine_alone() -> None:
    published = {name: one["ports"] for name, one in containers().items() if "ports" in one and "profiles" not in one}

    assert published == {"gateway": ["127.0.0.1:${DOCQA_PORT:-8000}:8000"]}


def test_what_the_profiles_publish_is_for_this_machine_only() -> None:
    ports = [port for one in containers().values() if "profiles" in one for port in one.get("ports", [])]

    assert ports
    assert [port for port in ports if not port.startswith(LOOPBACK)] == []


@pytest.mark.parametrize("name", containers())
def test_every_image_is_pinned(name: str) -> None:
    assert PINNED.fullmatch(containers()[name]["image"])


def test_our_images_carry_the_version_of_this_release() -> None:
    assert {one["image"] for one in ours().values()} == {f"docqa-{service}:{version()}" for service in SERVICES}


@pytest.mark.parametrize("name", containers())
def test_nobody_can_gain_privileges(name: str) -> None:
    container = containers()[name]

    assert container["cap_drop"] == ["ALL"]
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "pid", "ipc", "network_mode", "devices"} & set(container)


@pytest.mark.parametrize("name", ours())
def test_what_is_ours_is_nobody_special_and_writes_nowhere_but_in_memory(name: str) -> None:
    container = ours()[name]

    assert container["user"] == "10001:10001"
    assert container["read_only"] is True
    assert [place.partition(":")[0] for place in container["tmpfs"]] == ["/tmp"]
    assert "volumes" not in container
    assert "mem_limit" in container


@pytest.mark.parametrize("name", containers())
def test_a_service_can_be_scaled(name: str) -> None:
    assert "container_name" not in containers()[name]


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_a_database_of_its_own_and_knows_no_other(service: str) -> None:
    name = f"DOCQA_{service.upper()}_DATABASE_URL"
    for container in (containers()[service], containers()[f"migrate-{service}"]):
        urls = {key: url for key, url in container["environment"].items() if key.endswith("_DATABASE_URL")}

        assert list(urls) == [name]
        assert f"://{service}:${{POSTGRES_{service.upper()}_PASSWORD:-" in urls[name]
        assert urls[name].endswith(f"@postgres/{service}}}")


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_told_only_what_is_a_setting_of_its_own(service: str) -> None:
    file = (ROOT / containers()[service]["env_file"]).read_text("utf-8")
    told = {line for line in file.splitlines() if not line.startswith("#")} | set(containers()[service]["environment"])

    assert told - known_names(env_example.settings_of(service)) == set()


@pytest.mark.parametrize("service", SERVICES)
def test_whatever_a_service_can_be_told_reaches_it(service: str) -> None:
    """If this fails: python -m docqa.env_example"""
    path = ROOT / containers()[service]["env_file"]

    assert path.read_text("utf-8") == env_example.names_for_compose(service)


def test_no_service_is_a_root_user_of_an_engine() -> None:
    told = yaml.safe_dump(ours())

    assert "MINIO_ROOT" not in told
    assert "POSTGRES_PASSWORD" not in told


def test_each_migration_is_awaited_so_that_its_end_is_no_failure() -> None:
    ended = {"bucket", *(f"migrate-{service}" for service in SERVICES)}
    awaited = {
        name
        for container in containers().values()
        for name, wait in container.get("depends_on", {}).items()
        if wait["condition"] == "service_completed_successfully"
    }

    assert awaited == ended


def test_the_vector_store_is_out_of_reach_for_all_but_those_who_use_it() -> None:
    networks = yaml.safe_load(FILE.read_text("utf-8"))["networks"]
    beside = {name for name, one in containers().items() if "vectors" in one["networks"]}

    assert networks["vectors"] == networks["back"] == {"internal": True}
    assert beside == {"chroma", "embedder", "qa"}


def test_whoever_reads_strangers_files_has_no_way_out() -> None:
    assert containers()["ingest"]["networks"] == ["back"]


def test_an_old_engine_can_read_it() -> None:
    assert "start_interval" not in FILE.read_text("utf-8")


def test_nobody_but_the_services_says_what_a_topic_looks_like() -> None:
    text = FILE.read_text("utf-8")

    assert containers()["kafka"]["environment"]["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    assert [topic.name for topic in TOPICS if f"--topic {topic.name}" in text] == []


@pytest.mark.parametrize("path", [FILE, *PARTS], ids=lambda path: path.name)
def test_every_variable_stands_in_the_example(path: Path) -> None:
    used = set(VARIABLE.findall(path.read_text("utf-8")))
    example = (ROOT / env_example.FILE).read_text("utf-8")

    assert {name for name in used if f"#{name}=" not in example} == set()


def test_whoever_opens_it_to_others_is_asked_for_every_password() -> None:
    text = (ROOT / env_example.COMPOSE_FOLDER / "open.yml").read_text("utf-8")
    passwords = {name for name in VARIABLE.findall(FILE.read_text("utf-8")) if re.search("PASSWORD|SECRET", name)}

    assert set(re.findall(r"\$\{([A-Z0-9_]+):\?", text)) == passwords - {"GRAFANA_PASSWORD"}


def test_the_example_tells_what_compose_takes_where_nothing_is_set() -> None:
    defaults = dict(WITH_DEFAULT.findall(FILE.read_text("utf-8")))

    assert {name: defaults.get(name) for name in env_example.COMPOSE} == {
        name: default for name, (_, default) in env_example.COMPOSE.items()
    }


@pytest.mark.parametrize("path", OWN_ENGINES, ids=lambda path: path.stem)
def test_an_engine_of_ones_own_takes_the_place_of_a_container_that_is_there(path: Path) -> None:
    added = containers(path)

    assert set(added) <= set(containers())
    assert path.stem.removeprefix("own-") in {"postgres", "kafka", "s3"}
    assert any(one.get("deploy") == {"replicas": 0} for one in added.values())
