"""Running an app: until SIGTERM, then gracefully, and never for longer than half a minute."""

import asyncio
import contextlib
import gc
import select
import signal
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from chassis import process
from chassis.http_protocol import LINGER, Protocol
from chassis.settings import ServiceSettings

REQUESTS_GRACE = 12
"""Seconds that requests under way have left after SIGTERM."""

PROCESS_GRACE = 28.0
"""Seconds after which the process ends whatever it does: orchestrators kill at 30."""

START_FAILED = 3


class Server(uvicorn.Server):
    """Ends with exit code 0 after SIGTERM, tells the app before it waits, and does not tick while idle."""

    def __init__(self, config: uvicorn.Config, stopping: asyncio.Event) -> None:
        super().__init__(config)
        self._stopping = stopping
        self._loop: asyncio.AbstractEventLoop | None = None
        self._signals = 0

    async def startup(self, sockets: Any = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    async def main_loop(self) -> None:
        seconds = 0
        while not await self.on_tick(seconds * 10):
            try:
                async with asyncio.timeout(1):
                    await self._stopping.wait()
            except TimeoutError:
                seconds += 1

    async def shutdown(self, sockets: Any = None) -> None:
        await self._let_in_who_waits()
        await super().shutdown(sockets)

    async def _let_in_who_waits(self) -> None:
        """The loop accepts one connection a turn; closing the door would reset those in the kernel's queue."""
        door = select.poll()
        for server in self.servers:
            for listener in server.sockets:
                door.register(listener, select.POLLIN)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                while door.poll(0):  # noqa: ASYNC110 - it is the kernel that is asked
                    await asyncio.sleep(0)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal stops gracefully, a second one at once; one that the process sent itself does not count."""
        del sig, frame
        self._signals += 1
        self.should_exit = True
        self.force_exit = self._signals > 1 + process.failed.is_set()
        # The kernel's clock: it needs no thread, and ends a process that does not get to run Python any more.
        signal.setitimer(signal.ITIMER_REAL, PROCESS_GRACE)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)


def serve(app: FastAPI, settings: ServiceSettings) -> None:
    """Serve until SIGTERM or SIGINT; exits with 3 if the app could not start, with 70 if a part of it has failed."""
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=Protocol,
        ws="none",
        lifespan="on",
        log_config=None,  # chassis.logs has configured logging already
        access_log=False,  # would repeat queries, and with them the tokens of links
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=75,  # longer than the clients in front keep theirs, or they write into a closed connection
        timeout_graceful_shutdown=REQUESTS_GRACE,
        backlog=2048,
    )
    server = Server(config, app.state.stopping)
    # What is loaded by now stays: no collection looks at it again, and the end does not take it apart (0.8 s of qa's).
    gc.freeze()
    # An answer makes some thousands of objects that die with it: looking for cycles among them took 3 % of its time.
    gc.set_threshold(20_000, 20, 20)
    server.run()
    if not server.started:
        raise SystemExit(START_FAILED)
    if process.failed.is_set():
        raise SystemExit(process.FAILED)
