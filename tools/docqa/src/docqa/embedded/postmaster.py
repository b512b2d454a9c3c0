"""What `postmaster.pid` in a data folder says, and what to do when its server was killed or orphaned."""

import asyncio
import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from chassis import pids

from docqa.embedded.failures import PostgresUnavailable

LEFTOVER_WITHIN = 20.0
PROC = Path("/proc")


@dataclass(frozen=True)
class Postmaster:
    pid: int | None
    status: str

    def is_ready(self, pid: int) -> bool:
        return self.pid == pid and self.status == "ready"


def read(data: Path) -> Postmaster:
    """An absent or half-written file names no process."""
    try:
        lines = (data / "postmaster.pid").read_text("utf-8").splitlines()
    except FileNotFoundError:
        lines = []
    pid = int(lines[0]) if lines and lines[0].strip().isdigit() else None
    return Postmaster(pid, lines[7].strip() if len(lines) > 7 else "")


async def end_leftover(data: Path) -> None:
    """Makes the folder free for a new server, whatever became of the last one.

    A server whose supervisor was killed is asked to end; its workers are waited for; a file that names a process
    which is not PostgreSQL (its number was given away again, after a reboot for instance) is removed, because the
    new server would take it for a rival.
    """
    deadline = time.monotonic() + LEFTOVER_WITHIN
    while servers := processes_in(data):
        for pid in servers:
            _ask_to_end(pid, signal.SIGINT if time.monotonic() < deadline - LEFTOVER_WITHIN / 2 else signal.SIGQUIT)
        if time.monotonic() > deadline:
            raise PostgresUnavailable(f"another server works on {data} (process {servers[0]}) and does not end")
        await asyncio.sleep(0.1)
    _forget_stranger(data)


def _forget_stranger(data: Path) -> None:
    if not PROC.is_dir():
        return  # who it is cannot be told here: PostgreSQL decides for itself whether the file is stale
    named = read(data).pid
    if named is not None and pids.exists(named):
        (data / "postmaster.pid").unlink(missing_ok=True)


def processes_in(data: Path) -> list[int]:
    """The processes whose working directory is the data folder: every PostgreSQL process is at home there."""
    if not PROC.is_dir():
        return []
    found = []
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if (entry / "cwd").samefile(data) and (entry / "exe").resolve().name == "postgres":
                found.append(int(entry.name))
        except OSError:
            continue
    return sorted(found)


def _ask_to_end(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
