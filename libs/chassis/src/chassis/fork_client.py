"""Our end of the pipes to a fork server."""

import asyncio
import json
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Self

_STOP_SECONDS = 5.0
"""For a server that only has to kill."""


class ForkServerGone(Exception):
    """The fork server has ended, or did not come up; nothing was started."""


@dataclass(frozen=True)
class Ended:
    """How a child ended: its exit code, negative for a signal, and the most bytes of memory it ever held."""

    status: int
    peak: int


_WITH_ITS_SERVER = Ended(status=-signal.SIGKILL, peak=0)


@dataclass(frozen=True, eq=False)
class Forked:
    """A child that has begun."""

    pid: int
    _id: int
    _ended: "asyncio.Future[Ended]"
    _client: "ForkClient" = field(repr=False)

    @property
    def outcome(self) -> Ended | None:
        """None while it runs."""
        return self._ended.result() if self._ended.done() else None

    async def ended(self) -> Ended:
        """Wait for its end, which is also that of its server. May be cancelled, which leaves the child alone."""
        return await asyncio.shield(self._ended)

    def send(self, number: int) -> None:
        """Send it a signal. Harmless when it has ended."""
        if self.outcome is None:
            self._client._say(self._id, signal=int(number))

    def kill(self) -> None:
        """End it and whatever it has started. Harmless when it has ended."""
        if self.outcome is None:
            self._client._say(self._id, kill=True)


class ForkClient:
    """A running fork server. `fork` may be called many times at once."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._ids = count(1)
        self._beginning: dict[int, asyncio.Future[int]] = {}
        self._ending: dict[int, asyncio.Future[Ended]] = {}
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path | None = None,
        errors: int | None = None,
        within: float = 60,
    ) -> Self:
        """Start one; returns when it has loaded everything. Raises `ForkServerGone` if that takes too long, or it ends.

        `command` gets our process id as its last word, for `die_with_parent`. `errors` is a descriptor. Loading takes a
        second, and on a machine that is just starting everything much longer: so does `within`.
        """
        process = await asyncio.create_subprocess_exec(
            *command, str(os.getpid()),
            stdin=PIPE, stdout=PIPE, stderr=errors, start_new_session=True, env=dict(environment), cwd=folder,
        )  # fmt: skip
        assert process.stdout is not None
        try:
            async with asyncio.timeout(within):
                hello = await process.stdout.readline()
        except TimeoutError:
            hello = b""
        except BaseException:
            with suppress(ProcessLookupError):
                process.kill()
            raise
        if not hello:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise ForkServerGone
        return cls(process)

    @property
    def is_alive(self) -> bool:
        return not self._listening.done()

    @property
    def pid(self) -> int:
        return self._process.pid

    async def fork(self, order: Any) -> Forked:
        """A child that obeys `order`, which must be JSON. Raises `ForkServerGone`."""
        if not self.is_alive:
            raise ForkServerGone
        child, loop = next(self._ids), asyncio.get_running_loop()
        begun = self._beginning[child] = loop.create_future()
        ended = self._ending[child] = loop.create_future()
        try:
            self._say(child, order=order)
            return Forked(await begun, child, ended, self)
        except asyncio.CancelledError:
            self._say(child, kill=True)
            raise
        finally:
            del self._beginning[child]

    async def stop(self) -> None:
        """End it, all its children, and what they have started."""
        self.end()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        await self._listening

    def end(self) -> None:
        """The same, and nothing is waited for."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def _say(self, child: int, **words: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"id": child, **words}).encode() + b"\n")

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        try:
            async for line in self._process.stdout:
                self._hear(json.loads(line))
        finally:
            for begun in self._beginning.values():
                if not begun.done():
                    begun.set_exception(ForkServerGone())
            for ended in self._ending.values():
                ended.set_result(_WITH_ITS_SERVER)
            self._ending.clear()

    def _hear(self, said: dict[str, int]) -> None:
        child = said["id"]
        if "pid" not in said:
            self._ending.pop(child).set_result(Ended(said["status"], said["peak"]))
        elif (begun := self._beginning.get(child)) is not None and not begun.done():
            begun.set_result(said["pid"])
