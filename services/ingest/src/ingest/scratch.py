"""Folders in which documents lie while they are read, and what is left of them by processes that were killed."""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from shutil import rmtree
from tempfile import gettempdir, mkdtemp

from chassis import pids
from chassis.disks import is_full
from chassis.failures import Transient

PREFIX = "docqa-ingest-"
AGE = timedelta(days=1)
ROOM_SECONDS = 60.0
"""Between two tries on a full disk: somebody has to make room, or others have to end. All tries take eight minutes."""
_PROCESS = re.compile(re.escape(PREFIX) + r"(\d{1,9})-")


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """An empty folder with this process's number in its name, removed afterwards.

    Raises `Transient` if the disk has no room for what is to lie there.
    """
    try:
        folder = Path(mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        try:
            yield folder
        finally:
            # A reader that is being killed may still be writing.
            rmtree(folder, ignore_errors=True)
    except OSError as error:
        if is_full(error):
            raise no_room() from error
        raise


def no_room() -> Transient:
    return Transient("processing.disk_full", "The disk for temporary files is full.", retry_after=ROOM_SECONDS)


def remove_abandoned_scratch() -> None:
    """Remove folders whose process is gone, or that are older than a day.

    For a process that has not read anything yet: a folder with its own number is a predecessor's, as in a container.
    Containers must not share their folder for temporary files: the numbers of one mean nothing in another.
    """
    for folder in Path(gettempdir()).glob(f"{PREFIX}*"):
        # Others that start at this moment remove the same ones.
        with suppress(FileNotFoundError):
            if _process_is_gone(folder) or folder.stat().st_mtime < time.time() - AGE.total_seconds():
                rmtree(folder, ignore_errors=True)


def _process_is_gone(folder: Path) -> bool:
    named = _PROCESS.match(folder.name)
    if named is None:
        return False
    process = int(named[1])
    return process == os.getpid() or not pids.exists(process)
