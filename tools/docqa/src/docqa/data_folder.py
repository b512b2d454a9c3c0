"""The folder that holds everything a stack keeps, used by one `docqa up` at a time."""

import fcntl
import json
import os
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from docqa.failing import DataFolderUnusable, NotRunning

KEPT_LOGS = 5


@dataclass(frozen=True)
class RunningStack:
    """What a running stack tells the commands that operate it. Private to its owner: it carries passwords."""

    pid: int
    url: str
    services: dict[str, str]
    databases: dict[str, str]
    kafka: str
    operator_token: str

    @classmethod
    def find(cls, folder: Path) -> Self:
        """The stack that runs on `folder`, or `NotRunning`."""
        state = folder / "state.json"
        try:
            if not _is_locked(folder / "lock"):
                raise NotRunning(folder)
            return cls(**json.loads(state.read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            raise NotRunning(folder) from None


class DataFolder:
    """Opened by `open`, which takes the lock; `close` gives it back. The kernel gives it back for a killed process."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.postgres = path / "postgres"
        self.chroma = path / "chroma"
        self.objects = path / "objects"
        self.logs = path / "logs"
        self._lock = lock

    @classmethod
    def open(cls, path: Path) -> Self:
        """Makes the folder if it is missing. `DataFolderUnusable` says why not: unwritable, or in use."""
        path = path.expanduser().resolve()
        try:
            path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=path) as probe:
                probe.write(b"docqa")
            lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise DataFolderUnusable(path, _in_words(error)) from None
        if not _taken(lock):
            holder = os.read(lock, 20).decode(errors="replace").strip()
            os.close(lock)
            raise DataFolderUnusable(path, f"another docqa up is using it (process {holder or 'unknown'})")
        os.truncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        folder = cls(path, lock)
        folder.objects.mkdir(mode=0o700, exist_ok=True)
        folder.logs.mkdir(mode=0o700, exist_ok=True)
        return folder

    def log(self, name: str) -> Path:
        """The file for the log of `name`, the older ones moved aside."""
        file = self.logs / f"{name}.log"
        for age in range(KEPT_LOGS - 1, -1, -1):
            older = file if age == 0 else self.logs / f"{name}.log.{age}"
            if older.exists():
                older.replace(self.logs / f"{name}.log.{age + 1}")
        return file

    def publish(self, stack: RunningStack) -> None:
        """Tells other commands how to reach the stack that runs here."""
        draft = self.path / "state.json.new"
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
            json.dump(asdict(stack), out, indent=1)
        draft.replace(self.path / "state.json")

    def close(self) -> None:
        """Frees the folder. Harmless twice."""
        if self._lock >= 0:
            (self.path / "state.json").unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = -1


def _taken(lock: int) -> bool:
    for _ in range(5):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            time.sleep(0.02)  # a command that only looks whether somebody runs here holds it for a moment
        else:
            return True
    return False


def _is_locked(file: Path) -> bool:
    with file.open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def _in_words(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    return f"{(error.strerror or str(error)).lower()}{where}"
