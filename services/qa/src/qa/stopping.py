"""Stopping an answer, on whichever replica it is being written: the wish is a row, and a notification wakes."""

import asyncio
from uuid import UUID

import structlog
from chassis.database import DATABASE_ERRORS, Sessions
from sqlalchemy import text

from qa import chats
from qa.running import RunningAnswers

log = structlog.stdlib.get_logger(__name__)

CHANNEL = "stops"

# A notification can be missed: while answers are being written, their rows are looked at this often anyway.
LOOK_EVERY = 1.0
# How long `stop` waits for the answer to be stored, so that reading the chat next shows it.
STORED_WITHIN = 3.0
POLL_EVERY = 0.05


class Stop:
    """The wish that an answer ends here."""

    def __init__(self, sessions: Sessions, running: RunningAnswers) -> None:
        self._sessions = sessions
        self._running = running

    async def __call__(self, owner: UUID, chat: UUID, message: UUID) -> None:
        """Returns once what was said is stored, or after three seconds. Raises `MessageNotFound`."""
        async with self._sessions.begin() as session:
            if not await chats.request_stop(session, owner, chat, message):
                return
            await session.execute(_NOTIFY, {"channel": CHANNEL, "message": str(message)})
        self._running.stop([message])
        try:
            async with asyncio.timeout(STORED_WITHIN):
                while await self._is_running(message):  # noqa: ASYNC110 - it may be another process
                    await asyncio.sleep(POLL_EVERY)
        except TimeoutError:
            return

    async def _is_running(self, message: UUID) -> bool:
        async with self._sessions() as session:
            return await chats.is_running(session, message)


class StopWatch:
    """Stops the answers of this process that were asked to stop elsewhere."""

    def __init__(self, sessions: Sessions, running: RunningAnswers, notified: asyncio.Event) -> None:
        self._sessions = sessions
        self._running = running
        self._notified = notified

    async def run(self) -> None:
        """Until cancelled. Looks at the database only while something is being written here."""
        while True:
            await self._running.some.wait()
            await self._woken()
            try:
                await self.look()
            except (*DATABASE_ERRORS, OSError) as error:
                log.warning("could not look for answers to stop", error=type(error).__name__)

    async def look(self) -> None:
        if ids := self._running.ids:
            async with self._sessions() as session:
                self._running.stop(await chats.to_be_stopped(session, ids))

    async def _woken(self) -> None:
        try:
            async with asyncio.timeout(LOOK_EVERY):
                await self._notified.wait()
        except TimeoutError:
            pass
        self._notified.clear()


_NOTIFY = text("SELECT pg_notify(:channel, :message)")
