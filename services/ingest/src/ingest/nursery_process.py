"""The nursery as the service sees it."""

import asyncio
import os
import sys
from typing import Self

from chassis.failures import Transient
from chassis.fork_client import Ended, ForkClient, ForkServerGone

from ingest.extraction import Extraction
from ingest.reading import Engine

_PASSED_ON = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TZ")
"""A process that reads strangers' files has no business with our addresses and passwords."""
_HOLD_ON_TO_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 20), "MALLOC_TRIM_THRESHOLD_": str(16 << 20)}
"""For glibc, which would otherwise give back after each page of a PDF what the next one takes again: 10,000 page faults
for 90 pages. A reader's memory is gone with it soon enough."""


class NurseryProcess:
    """A running nursery. `read` may be called many times at once."""

    def __init__(self, client: ForkClient) -> None:
        self._client = client

    @classmethod
    async def start(cls, engine: Engine) -> Self:
        """Start one; returns when it has loaded all that reading takes. Raises `Transient` if it does not come up."""
        command = [sys.executable, "-I", "-m", "ingest.nursery", engine]
        try:
            return cls(await ForkClient.start(command, environment=_environment()))
        except ForkServerGone:
            raise _lost() from None

    @property
    def is_alive(self) -> bool:
        return self._client.is_alive

    @property
    def pid(self) -> int:
        return self._client.pid

    async def read(self, wanted: Extraction) -> Ended:
        """Read one document in a process of its own.

        The process is killed if this is cancelled. Raises `Transient` if the nursery is gone.
        """
        try:
            reader = await self._client.fork(wanted.to_json())
        except ForkServerGone:
            raise _lost() from None
        try:
            return await reader.ended()
        except asyncio.CancelledError:
            reader.kill()
            raise

    async def stop(self) -> None:
        """End it and all its readers."""
        await self._client.stop()


def _environment() -> dict[str, str]:
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return passed_on | _HOLD_ON_TO_MEMORY | {"LANGSMITH_TRACING": "false"}


def _lost() -> Transient:
    return Transient("processing.interrupted", "The process that reads documents ended; it is started again.")
