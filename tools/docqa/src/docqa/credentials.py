"""The tokens of who is logged in, a file of the user's own: one entry for each server."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import platformdirs

from docqa.failing import PlainError

DEFAULT_URL = "http://127.0.0.1:8000"


@dataclass(frozen=True)
class Login:
    """Who is logged in, and with what."""

    email: str
    access_token: str
    refresh_token: str


class Credentials:
    """Read and written whole, mode 0600; `locked` keeps two commands from spending the same refresh token."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or platformdirs.user_config_path("docqa", appauthor=False)
        self._file = self._folder / "credentials.json"

    @property
    def last_url(self) -> str | None:
        """The server of the last login."""
        url = self._read().get("last_url")
        return url if isinstance(url, str) else None

    def of(self, url: str) -> Login | None:
        logins = self._read().get("logins")
        entry = logins.get(url) if isinstance(logins, dict) else None
        try:
            return Login(**entry) if entry else None
        except TypeError:
            return None

    def keep(self, url: str, login: Login, *, entered: bool = False) -> None:
        """`entered`: somebody has just logged in there, and means this server when none is named."""
        content = self._read()
        logins = content.get("logins")
        known = logins if isinstance(logins, dict) else {}
        self._write({"last_url": url if entered else self.last_url, "logins": {**known, url: asdict(login)}})

    @contextmanager
    def locked(self) -> Iterator[None]:
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise PlainError(f"The login cannot be kept in {self._folder}: {error.strerror}.") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _read(self) -> dict[str, object]:
        try:
            content = json.loads(self._file.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def _write(self, content: dict[str, object]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = self._folder / f"credentials.{os.getpid()}.new"
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
            json.dump(content, out, indent=1)
        draft.replace(self._file)


def server_url(credentials: Credentials) -> str:
    """`DOCQA_URL`, else the server of the last login, else the embedded stack's usual place."""
    port = os.environ.get("DOCQA_PORT")
    local = f"http://127.0.0.1:{port}" if port else None
    return (os.environ.get("DOCQA_URL") or local or credentials.last_url or DEFAULT_URL).rstrip("/")
