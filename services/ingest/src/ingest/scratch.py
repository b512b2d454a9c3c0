"""Folders in which documents lie while they are read, and what is left of them by processes that were killed."""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from shutil import disk_usage, rmtree
from tempfile import gettempdir, mkdtemp

from chassis import pids
from chassis.disks import is_full
from chassis.failures import Failure, Misconfigured, Transient

PREFIX = "docqa-ingest-"
AGE = timedelta(days=1)
ROOM_BYTES = 8 * 2**20
"""Where less is left there is no room for anybody's document."""
ROOM_SECONDS = 60.0
"""Between two tries of a document for which there is not enough room: all of them take seven minutes."""
_PROCESS = re.compile(re.escape(PREFIX) + r"(\d{1,9})-")


class NoRoom(Exception):
    """The disk is full for whoever writes into a scratch folder."""


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """An empty folder with this process's number in its name, removed afterwards.

    If the disk has no room for what is to lie there, raises `Misconfigured` where it has none for anything, else
    `Transient`.
    """
    try:
        folder = Path(mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=_temporary_files()))
        try:
            yield folder
        finally:
            # A reader that is being killed may still be writing.
            rmtree(folder, ignore_errors=True)
    except NoRoom as error:
        raise _full_disk() from error
    except OSError as error:
        if is_full(error):
            raise _full_disk() from error
        raise


def remove_abandoned_scratch() -> None:
    """Remove folders whose process is gone, or that are older than a day.

    For a process that has not read anything yet: a folder with its own number is a predecessor's, as in a container.
    Containers must not share their folder for temporary files: the numbers of one mean nothing in another.
    """
    for folder in _temporary_files().glob(f"{PREFIX}*"):
        # Others that start at this moment remove the same ones.
        with suppress(FileNotFoundError):
            if _process_is_gone(folder) or folder.stat().st_mtime < time.time() - AGE.total_seconds():
                rmtree(folder, ignore_errors=True)


def _temporary_files() -> Path:
    """Where `tempfile` puts them, unless the disk is full: then it looks for another folder, or says there is none."""
    wanted = Path(os.environ.get("TMPDIR") or "/tmp")  # noqa: S108 - names in it are made by mkdtemp
    return wanted if wanted.is_dir() else Path(gettempdir())


def _full_disk() -> Failure:
    code, detail = "processing.disk_full", "The disk for temporary files is full."
    if disk_usage(_temporary_files()).free < ROOM_BYTES:
        return Misconfigured(code, detail)
    # A large file may not fit where small ones do: nobody else stands still for it.
    return Transient(code, detail, retry_after=ROOM_SECONDS)


def _process_is_gone(folder: Path) -> bool:
    named = _PROCESS.match(folder.name)
    if named is None:
        return False
    process = int(named[1])
    return process == os.getpid() or not pids.exists(process)
