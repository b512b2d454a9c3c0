"""One of the five services as a process: migrated, started, asked whether it is ready."""

import asyncio
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path

from docqa import probing
from docqa.embedded.children import Child
from docqa.embedded.modules import Run, run_alone
from docqa.failing import ServiceFailed

# A first start compiles every module, and cold disks are slow.
READY_WITHIN = 240.0
MIGRATED_WITHIN = 240.0
# Services promise to end within 30 s of SIGTERM.
STOPPED_WITHIN = 32.0
LOOK_EVERY = 0.1
LAST_LINES = 12
LONGEST_LINE = 400  # a traceback in JSON is one line


class Service:
    """`environment` is asked at every start, because addresses may have changed in between."""

    def __init__(
        self, name: str, url: str, environment: Callable[[], Mapping[str, str]], *, log: Path, run: Run = run_alone
    ) -> None:
        self.name = name
        self.url = url
        self.log = log
        self._environment = environment
        self._run = run
        self.child: Child | None = None

    async def migrate(self) -> None:
        """Brings its database to the schema of this release."""
        child = await self._start("migrate")
        try:
            code = await child.ended(MIGRATED_WITHIN)
        except TimeoutError:
            child.kill()
            raise self._failure(f"did not migrate its database within {MIGRATED_WITHIN:.0f} s") from None
        finally:
            child.kill()
        if code != 0:
            raise self._failure("could not migrate its database")

    async def start(self) -> None:
        """Starts the process; `becomes_ready` waits for it."""
        self.child = await self._start("main")

    async def becomes_ready(self, within: float) -> None:
        """Raises `ServiceFailed` with its last words if it ends instead, or takes longer than `within` seconds."""
        child, deadline = self.child, time.monotonic() + within
        assert child is not None
        while (missing := await self.missing()) is not None:
            if not child.running:
                raise self._failure(f"ended with exit code {child.exit_code}")
            if time.monotonic() > deadline:
                raise self._failure(f"was not ready within {within:.0f} s ({missing})")
            await asyncio.sleep(LOOK_EVERY)

    async def missing(self) -> str | None:
        """None if it is ready, else what it says is missing."""
        answer = await probing.ask(f"{self.url}/health/ready")
        if answer is None:
            return "it does not answer"
        status, body = answer
        return None if status == HTTPStatus.OK else body[:500]

    async def stop(self) -> None:
        if self.child is not None:
            await self.child.stop(patience=STOPPED_WITHIN)

    async def _start(self, module: str) -> Child:
        return await self._run(self.name, f"{self.name}.{module}", environment=self._environment(), log=self.log)

    def _failure(self, reason: str) -> ServiceFailed:
        return ServiceFailed(self.name, reason, log=self.log, last_words=last_words(self.log))


def last_words(log: Path, lines: int = LAST_LINES) -> str:
    """The end of a log, for the message that points to it."""
    try:
        ends = log.read_text("utf-8", errors="replace").splitlines()[-lines:]
    except OSError:
        return ""
    return "\n".join(line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]} …" for line in ends)
