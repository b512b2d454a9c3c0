"""What went wrong, in words for the person at the terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contracts.documents import RejectedFile


class PlainError(Exception):
    """Something a person can act on: its message is all that is shown, and the command ends with `exit_code`."""

    exit_code = 1


class OutputFailed(PlainError):
    def __init__(self, reason: str) -> None:
        super().__init__(f"The output cannot be written: {reason}.")


class ServerRefused(PlainError):
    """docqa answered with a problem; `code` is its stable name."""

    def __init__(self, *, status: int, code: str, text: str, rejected: "Sequence[RejectedFile]" = ()) -> None:
        super().__init__(f"{text} ({code})")
        self.status = status
        self.code = code
        self.rejected = rejected


class ServerAway(PlainError):
    def __init__(self, url: str, reason: str) -> None:
        super().__init__(
            f"docqa does not answer at {url} ({reason}). Start it with `docqa up`, or set DOCQA_URL to where it runs."
        )
        self.url = url


class EmbedderAway(PlainError):
    def __init__(self, url: str, reason: str) -> None:
        super().__init__(
            f"The embedder does not answer at {url} ({reason}). Start docqa with `docqa up`, or say "
            "with --embedder-url where its embedder listens."
        )


class NotLoggedIn(PlainError):
    def __init__(self, url: str) -> None:
        super().__init__(f"Nobody is logged in to {url}. Run `docqa login`, or set DOCQA_API_KEY.")


class PortInUse(PlainError):
    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(
            f"Port {port} on {host} cannot be used: {reason}. "
            f"Choose another one with --port or DOCQA_PORT, for example DOCQA_PORT={port % 65535 + 1}."
        )
        self.port = port


class DataFolderUnusable(PlainError):
    def __init__(self, folder: object, reason: str) -> None:
        super().__init__(
            f"The data folder {folder} cannot be used: {reason}. Choose another one with --data or DOCQA_DATA."
        )
        self.reason = reason


class ServiceFailed(PlainError):
    """A service ended, or did not become ready, while the stack was being started."""

    def __init__(self, name: str, reason: str, *, log: object, last_words: str = "") -> None:
        quoted = "".join(f"\n    {line}" for line in last_words.splitlines())
        super().__init__(f"{name} {reason}.{quoted}\nIts log: {log}")
        self.name = name


class NotRunning(PlainError):
    def __init__(self, folder: object) -> None:
        super().__init__(
            f"No docqa is running on the data folder {folder}. Start it with `docqa up`, "
            "or name the folder of a running one with --data or DOCQA_DATA."
        )
