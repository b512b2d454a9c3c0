"""What the figures were measured on."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

GIGABYTE = 1024**3


@dataclass(frozen=True)
class Machine:
    """Enough to know how far figures of another machine may differ."""

    processor: str
    cores: int
    memory_gb: int
    system: str
    python: str
    load: float


def this_machine() -> Machine:
    return Machine(
        processor=_of_proc("cpuinfo", "model name") or platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        memory_gb=round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIGABYTE),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        load=os.getloadavg()[0],
    )


def _of_proc(file: str, name: str) -> str:
    lines = Path("/proc", file).read_text("utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
