"""Which migrations the embedded databases have seen, so that a start without new ones need not look again.

Only a saving of time: a service itself refuses to start on a schema that it cannot work with.
"""

import hashlib
import importlib.util
import json
from pathlib import Path


class Migrated:
    """Kept beside the databases it tells of."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def is_current(self, service: str) -> bool:
        """Whether the database of `service` has seen exactly the migrations that are installed."""
        installed = fingerprint(service)
        return installed is not None and self._read().get(service) == installed

    def note(self, service: str) -> None:
        """The migrations that are installed have just been run."""
        self._file.write_text(json.dumps({**self._read(), service: fingerprint(service)}, indent=1), "utf-8")

    def _read(self) -> dict[str, str]:
        try:
            content = json.loads(self._file.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}


def fingerprint(service: str) -> str | None:
    """Changes with every byte of a service's migrations; found without importing it. None if there are none."""
    spec = importlib.util.find_spec(service)
    if spec is None or spec.origin is None:
        return None
    files = sorted((Path(spec.origin).parent / "migrations" / "versions").glob("*.py"))
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest() if files else None
