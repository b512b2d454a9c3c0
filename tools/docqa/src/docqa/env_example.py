"""`.env.example`: every setting there is, written from the settings' own descriptions.

`python -m docqa.env_example` writes it; a test holds it against the settings.
"""

import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from textwrap import wrap

from chassis.settings import SERVICES, SHARED_NAMES, ServiceSettings, names_of
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

FILE = ".env.example"

HEAD = """\
Every setting of docqa. Copy this file to .env and change what you need: `docqa up` reads it.
Whatever is commented out has the value that stands there; an empty value is as good as none. What has no value
is optional or decided by `docqa up`; where the services are started without it, they say what they miss.

A shared setting may differ for one service: DOCQA_QA_LOG_LEVEL wins over DOCQA_LOG_LEVEL in qa.
A DOCQA_ name that is not known is refused at the start.
"""

TOOLS = {
    "DOCQA_DATA": ("Folder in which `docqa up` keeps everything.", ".docqa"),
    "DOCQA_PORT": ("Port on which `docqa up` opens docqa to people.", "8000"),
    "DOCQA_URL": ("The docqa that the commands speak to, if not the one of this machine.", ""),
    "DOCQA_API_KEY": ("API key for these commands, instead of `docqa login`.", ""),
}
"""What the `docqa` command itself reads."""


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
    parts = [_comment(HEAD.splitlines()), _section("The docqa command", _tools())]
    parts.append(_section("Shared by the services", _entries(shared_fields())))
    parts += [_section(f"Only {service}", _entries(own_fields(service))) for service in SERVICES]
    return "\n".join(parts)


def _tools() -> Iterator[str]:
    for name, (description, default) in TOOLS.items():
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
    Path(FILE).write_text(text(), encoding="utf-8")
