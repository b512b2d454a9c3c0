"""Child processes that leave nothing behind: each in its own session, each ended with its parent."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from docqa.embedded import spawn

POLL = 0.02  # seconds between two looks where nothing tells us


class Child(ABC):
    """A program that was started for us; its process group goes with it."""

    def __init__(self, name: str, pid: int) -> None:
        self.name = name
        self.pid = pid

    @property
    @abstractmethod
    def exit_code(self) -> int | None:
        """None while it runs; minus the signal's number if a signal ended it."""

    @property
    def running(self) -> bool:
        return self.exit_code is None

    @abstractmethod
    def send(self, number: signal.Signals) -> None:
        """Harmless when it has ended."""

    @abstractmethod
    def kill(self) -> None:
        """Ends it and everything in its process group at once. Harmless when it has ended."""

    async def ended(self, timeout: float | None = None) -> int:
        """Waits for its end and gives the exit code; `TimeoutError` if it takes longer than `timeout` seconds."""
        async with asyncio.timeout(timeout):
            return await self._ended()

    async def stop(self, number: signal.Signals = signal.SIGTERM, *, patience: float = 10) -> int:
        """Asks it to end, and insists after `patience` seconds. Returns the exit code."""
        self.send(number)
        self.send(signal.SIGCONT)  # a stopped process hears nothing
        try:
            return await self.ended(patience)
        except TimeoutError:
            self.kill()
            return await self.ended()

    @abstractmethod
    async def _ended(self) -> int: ...


class Spawned(Child):
    """A program started by `start`.

    Must be started from a thread that lives as long as the child shall (the main thread): the kernel ties a child's
    life to the thread that started it, not to the process.
    """

    def __init__(self, name: str, process: "subprocess.Popen[bytes]") -> None:
        super().__init__(name, process.pid)
        self._process = process

    @property
    def stdout(self) -> int:
        """The descriptor to read its output from, if it was started with `piped=True`."""
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    @property
    def exit_code(self) -> int | None:
        if self._process.returncode is None and _has_ended(self.pid):
            self._sweep()
        return self._process.returncode

    def send(self, number: signal.Signals) -> None:
        if self.running:
            self._process.send_signal(number)

    def kill(self) -> None:
        if self._process.returncode is None:
            self._sweep()

    async def _ended(self) -> int:
        while True:
            if (code := self.exit_code) is not None:
                return code
            await _end_of(self.pid)

    def _sweep(self) -> None:
        # Before the process is reaped: until then nobody else can have its number, which names the group as well.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def _has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


async def _end_of(pid: int) -> None:
    """Returns when the process has ended, or a little later on systems that cannot tell."""
    if not hasattr(os, "pidfd_open"):
        await asyncio.sleep(POLL)
        return
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    descriptor = os.pidfd_open(pid)
    try:
        loop.add_reader(descriptor, ended.set)
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def start(
    name: str,
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str],
    folder: Path | None = None,
    log: Path | None = None,
    piped: bool = False,
    as_somebody: bool = False,
    when_parent_dies: signal.Signals = signal.SIGKILL,
) -> Spawned:
    """Starts `command` (its first word an absolute path) in a session of its own.

    `log` takes its output (appended); `piped` leaves the output to be read from `Child.stdout` and only errors to the
    log. `as_somebody` is for programs that refuse to run as root.
    """
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) if log else subprocess.DEVNULL
    identity = "somebody" if as_somebody else "same"
    try:
        process = subprocess.Popen(
            [
                sys.executable,
                "-I",
                "-S",
                spawn.__file__,
                str(int(when_parent_dies)),
                str(os.getpid()),
                identity,
                *map(str, command),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if piped else output,
            stderr=output,
            env=dict(environment),
            cwd=folder,
            start_new_session=True,
        )
    finally:
        if log:
            os.close(output)
    return Spawned(name, process)
