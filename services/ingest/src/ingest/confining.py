"""What a process that reads somebody's document may not do: take more than its share."""

import os
import resource
import signal
from contextlib import suppress
from pathlib import Path

from ingest.limits import Limits

_LARGEST_FILE = 1 << 30
"""Bytes of one result. The chunks file of 60 million characters stays well below."""
_OPEN_FILES = 64


def confine(limits: Limits) -> None:
    """Bind this process, for good: own process group, processor time, wall time, memory, files."""
    os.setpgid(0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Between the two the process ends with a signal of its own, which tells this limit from a kill.
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_seconds, limits.cpu_seconds + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_LARGEST_FILE, _LARGEST_FILE))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, _OPEN_FILES))
    memory = _address_space() + limits.memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, limits.wall_seconds)
    _be_first_to_go()


def _address_space() -> int:
    """Bytes this process has mapped already: limits count from here."""
    with suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    return 0


def _be_first_to_go() -> None:
    """If the machine runs out of memory, it should end the reader of a document and not a service."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
