"""Our end of the pipes to a nursery."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Self

from chassis.failures import Transient

from ingest.extraction import Extraction
from ingest.reading import Engine

_START_SECONDS = 60.0
"""Loading takes half a second; on a machine that is just starting everything, much longer."""
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TZ")
"""A process that reads strangers' files has no business with our addresses and passwords."""
_HOLD_ON_TO_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 20), "MALLOC_TRIM_THRESHOLD_": str(16 << 20)}
"""For glibc, which would otherwise give back after each page of a PDF what the next one takes again: 10,000 page faults
for 90 pages. A reader's memory is gone with it soon enough."""


@dataclass(frozen=True)
class Ended:
    """How a reader ended: its exit code, negative for a signal, and the most bytes of memory it ever held."""

    status: int
    peak: int


class NurseryProcess:
    """A running nursery. `read` may be called many times at once."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._ids = count(1)
        self._waiting: dict[int, asyncio.Future[Ended]] = {}
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def start(cls, engine: Engine) -> Self:
        """Start one; returns when it has loaded all that reading takes. Raises `Transient` if it does not come up."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-m", "ingest.nursery", engine, str(os.getpid()),
            stdin=PIPE, stdout=PIPE, start_new_session=True, env=_environment(),
        )  # fmt: skip
        assert process.stdout is not None
        try:
            async with asyncio.timeout(_START_SECONDS):
                hello = await process.stdout.readline()
        except BaseException:
            process.kill()
            raise
        if not hello:
            await process.wait()
            raise _lost()
        return cls(process)

    @property
    def is_alive(self) -> bool:
        return not self._listening.done()

    @property
    def pid(self) -> int:
        return self._process.pid

    async def read(self, wanted: Extraction) -> Ended:
        """Read one document in a process of its own.

        The process is killed if this is cancelled. Raises `Transient` if the nursery is gone.
        """
        if not self.is_alive:
            raise _lost()
        reader = next(self._ids)
        ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self._waiting[reader] = ended
        try:
            self._order({"id": reader, "extraction": wanted.to_json()})
            return await ended
        except asyncio.CancelledError:
            self._order({"id": reader, "kill": True})
            raise
        finally:
            del self._waiting[reader]

    async def stop(self) -> None:
        """End it and all its readers."""
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._listening

    def _order(self, order: dict[str, object]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        try:
            async for line in self._process.stdout:
                said = json.loads(line)
                ended = self._waiting.get(said["id"])
                if ended is not None and not ended.done():
                    ended.set_result(Ended(status=said["status"], peak=said["peak"]))
        finally:
            for ended in self._waiting.values():
                if not ended.done():
                    ended.set_exception(_lost())


def _environment() -> dict[str, str]:
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return passed_on | _HOLD_ON_TO_MEMORY | {"LANGSMITH_TRACING": "false"}


def _lost() -> Transient:
    return Transient("processing.interrupted", "The process that reads documents ended; it is started again.")
