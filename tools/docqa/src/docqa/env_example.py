"""`.env.example`: every setting there is, written from the settings' own descriptions.

`python -m docqa.env_example` writes it, and `deploy/compose/<service>.env`, which tell Docker Compose what each service
may be told; a test holds them against the settings.
"""

import json
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from textwrap import wrap

from chassis.settings import SERVICES, SHARED_NAMES, ServiceSettings, names_of
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

FILE = ".env.example"

HEAD = """\
Every setting of docqa. Copy this file to .env and change what you need: `docqa up` and `docker compose` read it.
Whatever is commented out has the value that stands there; an empty value is as good as none. What has no value
is optional, or decided by `docqa up` and docker-compose.yml; services started without these say what they miss.

A shared setting may differ for one service: DOCQA_QA_LOG_LEVEL wins over DOCQA_LOG_LEVEL in qa.
A DOCQA_ name that is not known is refused at the start.
"""

TOOLS = {
    "DOCQA_DATA": ("Folder in which `docqa up` keeps everything.", ".docqa"),
    "DOCQA_PORT": ("Port on which `docqa up` and Docker Compose open docqa to people.", "8000"),
    "DOCQA_URL": ("The docqa that the commands speak to, if not the one of this machine.", ""),
    "DOCQA_API_KEY": ("API key for these commands, instead of `docqa login`.", ""),
}
"""What the `docqa` command itself reads."""

COMPOSE_HEAD = """\
Only docker-compose.yml reads these. The passwords may stay as they are as long as only this machine reaches docqa,
which is how it comes up. deploy/compose/open.yml opens it to others (on DOCQA_HOST, 0.0.0.0 by default), and wants
all of them but Grafana's to be set, and DOCQA_S3_SECRET_KEY: letters and digits (try: openssl rand -hex 24).
"""

PASSWORD = "only-on-this-machine"  # noqa: S105 - which is what it says

COMPOSE = {
    "POSTGRES_PASSWORD": (
        "PostgreSQL's superuser, who makes the databases and whom no service is. It and the roles take their passwords "
        "when the databases are made.",
        PASSWORD,
    ),
    **{
        f"POSTGRES_{service.upper()}_PASSWORD": (f"The role of {service}, which owns its database.", PASSWORD)
        for service in SERVICES
    },
    "MINIO_ROOT_USER": ("MinIO's root user, who makes the bucket and whom no service is.", "minio"),
    "MINIO_ROOT_PASSWORD": ("The password of this one. The services' own keys are DOCQA_S3_*.", PASSWORD),
    "GRAFANA_PASSWORD": ("Grafana's admin, with the profile observability.", PASSWORD),
    "GRAFANA_PORT": ("Port of this machine on which Grafana listens, for this machine only.", "3000"),
    "KAFKA_UI_PORT": ("Port of this machine on which the Kafka UI listens, with the profile tools.", "8080"),
}
"""What only docker-compose.yml reads; the services never see these names."""

DECIDED_BY_COMPOSE = ("host", "port", "database_url", "auth_url", "ingest_url", "qa_url")
"""Fields that have one value in a container, whatever is set outside."""

COMPOSE_FOLDER = Path("deploy/compose")


def settings_of(service: str) -> type[ServiceSettings]:
    """The settings class of a service: the one that names it."""
    module = import_module(f"{service}.settings")
    return next(
        kind
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, ServiceSettings) and vars(kind).get("service") == service
    )


def shared_fields() -> dict[str, FieldInfo]:
    """The settings with one name for all services, by that name."""
    every = {name: info for service in SERVICES for name, info in _fields(service).items()}
    return {name: info for name, info in every.items() if name in SHARED_NAMES}


def own_fields(service: str) -> dict[str, FieldInfo]:
    """The settings that only this service reads, by their names."""
    return {name: info for name, info in _fields(service).items() if name not in SHARED_NAMES}


def _fields(service: str) -> dict[str, FieldInfo]:
    """A service's settings by the name that the most services share."""
    kind = settings_of(service)
    return {names_of(kind, field)[-1]: info for field, info in kind.model_fields.items()}


def text() -> str:
    """The whole file."""
    parts = [_comment(HEAD.splitlines()), _section("The docqa command", _listed(TOOLS))]
    parts.append(_section("Docker Compose", iter([_comment(COMPOSE_HEAD.splitlines()), *_listed(COMPOSE)])))
    parts.append(_section("Shared by the services", _entries(shared_fields())))
    parts += [_section(f"Only {service}", _entries(own_fields(service))) for service in SERVICES]
    return "\n".join(parts)


def names_for_compose(service: str) -> str:
    """A file of names without values: Compose gives the service those of them that are set."""
    kind = settings_of(service)
    told = {name for field in kind.model_fields if field not in DECIDED_BY_COMPOSE for name in names_of(kind, field)}
    head = f"What {service} may be told by .env or the shell. Written by python -m docqa.env_example."
    return _comment([head]) + "".join(f"{name}\n" for name in sorted(told))


def write(root: Path) -> None:
    """All files, below `root`."""
    (root / FILE).write_text(text(), encoding="utf-8")
    for service in SERVICES:
        (root / COMPOSE_FOLDER / f"{service}.env").write_text(names_for_compose(service), encoding="utf-8")


def _listed(names: Mapping[str, tuple[str, str]]) -> Iterator[str]:
    for name, (description, default) in names.items():
        yield _entry(name, description, default)


def _entries(fields: dict[str, FieldInfo]) -> Iterator[str]:
    for name in sorted(fields):
        yield _entry(name, fields[name].description or "", _default(fields[name]))


def _entry(name: str, description: str, default: str) -> str:
    return _comment(wrap(description, 110)) + f"#{name}={default}\n"


def _default(info: FieldInfo) -> str:
    """As it would be written in the file; what depends on the machine is left out."""
    if info.default is None or info.default is PydanticUndefined:
        return ""
    if isinstance(info.default, tuple):
        return ",".join(str(part) for part in info.default)
    return json.dumps(info.default) if isinstance(info.default, bool) else str(info.default)


def _section(title: str, entries: Iterator[str]) -> str:
    return f"# --- {title} ---\n\n" + "\n".join(entries)


def _comment(lines: list[str]) -> str:
    return "".join(f"# {line}".rstrip() + "\n" for line in lines)


if __name__ == "__main__":
    write(Path())
