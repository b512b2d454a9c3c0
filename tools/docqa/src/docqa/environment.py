"""What each service is told: what the user set, and for the rest the addresses of the embedded stack."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dotenv import dotenv_values

from docqa.failing import PlainError

PREFIX = "DOCQA_"
SERVICES = ("auth", "ingest", "embedder", "qa", "gateway")  # in the order of their start
LOOPBACK = "127.0.0.1"

# The embedded broker does not wake a parked fetch: a hop waits for half of this, and idling costs the more the shorter
# it is. A join after a leave waits nearly a session's timeout.
EMBEDDED_BROKER = {"DOCQA_KAFKA_FETCH_MAX_WAIT_MS": "20", "DOCQA_KAFKA_SESSION_TIMEOUT_MS": "6000"}

# For a process, whatever it is. glibc keeps an arena per thread and core, which doubles what an idle one holds.
OF_PROCESS = {"LANGSMITH_TRACING": "false", "ANONYMIZED_TELEMETRY": "False", "MALLOC_ARENA_MAX": "2"}
UNBUFFERED = {"PYTHONUNBUFFERED": "1"}


def of_user(folder: Path | None = None) -> dict[str, str]:
    """The process environment, and under it the `DOCQA_*` names of a `.env` in `folder` (the current one)."""
    file = (folder or Path.cwd()) / ".env"
    try:
        written = dotenv_values(file, encoding="utf-8") if file.is_file() else {}
    except UnicodeDecodeError:
        raise PlainError(f"{file} is no UTF-8 text.") from None
    except OSError as error:
        raise PlainError(f"{file} cannot be read: {error.strerror}.") from None
    ours = {name: value for name, value in written.items() if name.startswith(PREFIX) and value is not None}
    return {**ours, **os.environ}


def adopt_file(folder: Path | None = None) -> None:
    """Lets a `.env` speak for the names that the process environment leaves out."""
    for name, value in of_user(folder).items():
        os.environ.setdefault(name, value)


@dataclass
class Addresses:
    """Where everything is; filled in as the stack starts."""

    ports: Mapping[str, int]
    object_store: str
    operator_token: str
    kafka: str = ""
    chroma_url: str = ""
    databases: dict[str, str] = field(default_factory=dict)

    def url(self, service: str, host: str = LOOPBACK) -> str:
        return f"http://{host}:{self.ports[service]}"


def variable(service: str, name: str) -> str:
    """The name of a setting of one service alone."""
    return f"{PREFIX}{service.upper()}_{name.upper()}"


def given_database(service: str, user: Mapping[str, str]) -> str | None:
    """The user's own database for a service, if one is set."""
    return user.get(variable(service, "database_url")) or None


def public_host(user: Mapping[str, str]) -> str:
    """Where the gateway listens: the other services stay on the loopback interface whatever is set."""
    return user.get(variable("gateway", "host")) or user.get("DOCQA_HOST") or LOOPBACK


def of_all(user: Mapping[str, str]) -> dict[str, str]:
    """What holds before it is known which service a process will be: nothing of docqa's own."""
    others = {name: value for name, value in user.items() if value and not name.startswith(PREFIX)}
    return {**OF_PROCESS, **others, **UNBUFFERED}


def of_service(service: str, user: Mapping[str, str], addresses: Addresses) -> dict[str, str]:
    """The whole environment of a service's process. What the user set wins, except for who listens where."""
    defaults = {
        "DOCQA_KAFKA": addresses.kafka,
        "DOCQA_CHROMA_URL": addresses.chroma_url,
        "DOCQA_OBJECT_STORE": addresses.object_store,
        "DOCQA_OPERATOR_TOKEN": addresses.operator_token,
        **OF_PROCESS,
    }
    decided = {
        "DOCQA_AUTH_URL": addresses.url("auth"),
        variable("gateway", "ingest_url"): addresses.url("ingest"),
        variable("gateway", "qa_url"): addresses.url("qa"),
        variable(service, "host"): public_host(user) if service == "gateway" else LOOPBACK,
        variable(service, "port"): str(addresses.ports[service]),
        variable(service, "database_url"): addresses.databases[service],
        **UNBUFFERED,
    }
    others = tuple(f"{PREFIX}{name.upper()}_" for name in SERVICES if name != service)
    mine = {name: value for name, value in user.items() if value and not name.startswith(others)}
    broker = {} if user.get("DOCQA_KAFKA") else EMBEDDED_BROKER
    return {**defaults, **broker, **mine, **decided}
