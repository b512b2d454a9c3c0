"""Hearing NOTIFY, on a connection of its own that comes back when it is lost."""

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg
import structlog
from chassis.database import DATABASE_ERRORS
from sqlalchemy.ext.asyncio import AsyncEngine

Hear = Callable[[str | None], None]
"""Called with a notification's payload; with None whenever one may have been missed."""

PING_EVERY = 10.0  # a connection that died silently would otherwise be believed for ever
RECONNECT_AFTER = (0.05, 0.2, 0.5, 1.0, 2.0)

log = structlog.stdlib.get_logger(__name__)


class Listener:
    """Who is told of which channel. Nobody may rely on a notification alone: after each reconnect all are woken."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._options = connect_options(engine)
        self._hears: dict[str, list[tuple[Hear, Callable[[int], bool]]]] = {}
        self._connection: asyncpg.Connection | None = None
        self._lost = asyncio.Event()
        self._ready = asyncio.Event()

    def subscribe(self, channel: str) -> asyncio.Event:
        """An event that is set at each notification, and after each reconnect; whoever waits for it clears it."""
        event = asyncio.Event()
        self.on(channel, lambda _payload: event.set())
        return event

    def on(self, channel: str, hear: Hear, *, unless_from: Callable[[int], bool] = lambda _backend: False) -> None:
        """Call `hear` at each notification on the channel. A channel has to be named before the listener runs.

        `unless_from` is asked for the database's backend that sent it: what one has noted oneself is no news.
        """
        self._hears.setdefault(channel, []).append((hear, unless_from))

    async def ready(self) -> None:
        """Wait until it listens."""
        await self._ready.wait()

    async def run(self) -> None:
        """Listen until cancelled."""
        failures = 0
        while True:
            try:
                await self._listen()
                failures = 0
            except (*DATABASE_ERRORS, OSError, TimeoutError) as error:
                log.warning("listening ended", error=type(error).__name__)
            await asyncio.sleep(RECONNECT_AFTER[min(failures, len(RECONNECT_AFTER) - 1)])
            failures += 1

    async def _listen(self) -> None:
        connection = await asyncpg.connect(**self._options, timeout=5, command_timeout=5)
        try:
            self._lost.clear()
            connection.add_termination_listener(lambda _connection: self._lost.set())
            for channel in self._hears:
                await connection.add_listener(channel, self._heard)
            self._wake_all()
            self._ready.set()
            while not await self._is_lost():
                await connection.execute("SELECT")
        finally:
            self._ready.clear()
            connection.terminate()

    async def _is_lost(self) -> bool:
        try:
            async with asyncio.timeout(PING_EVERY):
                return await self._lost.wait()
        except TimeoutError:
            return False

    def _heard(self, _connection: Any, backend: int, channel: str, payload: Any) -> None:
        for hear, unless_from in self._hears[channel]:
            if not unless_from(backend):
                hear(str(payload))

    def _wake_all(self) -> None:
        for hears in self._hears.values():
            for hear, _ in hears:
                hear(None)


def connect_options(engine: AsyncEngine) -> dict[str, Any]:
    """How to reach the engine's database with asyncpg alone."""
    _, options = engine.dialect.create_connect_args(engine.url)
    known = ("host", "port", "user", "password", "database", "ssl")
    return {name: options[name] for name in known if name in options}
