"""How a module of Python becomes a process: in an interpreter of its own, or forked from one that has loaded most."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from chassis.fork_client import ForkClient, Forked, ForkServerGone

from docqa.embedded import children
from docqa.embedded.children import Child
from docqa.embedded.failures import PreloadedUnavailable
from docqa.embedded.preloaded import Order

# A first start compiles every module, and cold disks are slow.
LOADED_WITHIN = 240.0


class Run(Protocol):
    """Starts `python -m module`, at home in the folder of its log."""

    async def __call__(self, name: str, module: str, *, environment: Mapping[str, str], log: Path) -> Child: ...


async def run_alone(name: str, module: str, *, environment: Mapping[str, str], log: Path) -> Child:
    """In an interpreter of its own."""
    # -P: a folder called `auth` where the command was typed must not be taken for ours.
    command = [sys.executable, "-P", "-m", module]
    return children.start(name, command, environment=environment, folder=log.parent, log=log)


class Preloaded:
    """Keeps a process that has loaded what modules share, and forks them from it."""

    def __init__(self, environment: Mapping[str, str], *, log: Path) -> None:
        """`environment` is there when the shared part is loaded; each module has one of its own then."""
        self._environment = environment
        self._log = log
        self._client: ForkClient | None = None
        self._starting = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """None before the first start."""
        return None if self._client is None else self._client.pid

    async def start(self) -> ForkClient:
        """Has it ready for `run`, which would start it, too. Raises `PreloadedUnavailable` if it does not come up."""
        async with self._starting:
            if self._client is None or not self._client.is_alive:
                self._client = await self._load()
            return self._client

    async def run(self, name: str, module: str, *, environment: Mapping[str, str], log: Path) -> Child:
        """A `Run`."""
        order = Order(name=name, module=module, environment=dict(environment), folder=str(log.parent), log=str(log))
        with self._gone_means_unavailable():
            return _Forked(name, await (await self.start()).fork(order))

    async def stop(self) -> None:
        """Ends it and whatever was forked from it."""
        if self._client is not None:
            await self._client.stop()

    def kill(self) -> None:
        """The same at once; nothing is waited for."""
        if self._client is not None:
            self._client.end()

    async def _load(self) -> ForkClient:
        errors = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            with self._gone_means_unavailable():
                return await ForkClient.start(
                    [sys.executable, "-P", "-m", "docqa.embedded.preloaded"],
                    environment=self._environment,
                    folder=self._log.parent,
                    errors=errors,
                    within=LOADED_WITHIN,
                )
        finally:
            os.close(errors)

    @contextlib.contextmanager
    def _gone_means_unavailable(self) -> Iterator[None]:
        try:
            yield
        except ForkServerGone:
            raise PreloadedUnavailable("the process that they are forked from ended", log=self._log) from None


class _Forked(Child):
    def __init__(self, name: str, forked: Forked) -> None:
        super().__init__(name, forked.pid)
        self._forked = forked

    @property
    def exit_code(self) -> int | None:
        outcome = self._forked.outcome
        return None if outcome is None else outcome.status

    def send(self, number: signal.Signals) -> None:
        self._forked.send(number)

    def kill(self) -> None:
        self._forked.kill()

    async def _ended(self) -> int:
        return (await self._forked.ended()).status
