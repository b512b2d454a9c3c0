"""Handling dead letters again, once each, when somebody has asked for it."""

import asyncio
import contextlib
from collections.abc import Mapping

import structlog
from chassis.database import Sessions, is_transient
from chassis.failures import Failure
from chassis.storable import storable
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from messaging import dead_letters
from messaging.handling import Handling
from messaging.outbox import say_again
from messaging.tables import DeadLetter

LOOK_EVERY = 30.0

log = structlog.stdlib.get_logger(__name__)


class Replayer:
    """Replays what was asked for. A letter's effect and its end are one transaction, so it has one effect."""

    def __init__(self, sessions: Sessions, handlings: Mapping[str, Handling], *, woken: asyncio.Event) -> None:
        self._sessions = sessions
        self._handlings = handlings
        self._woken = woken

    async def run(self) -> None:
        """Replay until cancelled. What cannot be replayed at the moment keeps nothing from what stands behind it."""
        letter: int | None
        while True:
            self._woken.clear()
            try:
                letter = 0
                while (letter := await self.replay_next(letter)) is not None:
                    pass
            except Exception as error:
                if not is_transient(error):
                    log.exception("replaying failed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY):
                    await self._woken.wait()

    async def replay_next(self, after: int = 0) -> int | None:
        """Replay the first letter above `after` that was asked for; its id, or None if there is none."""
        letter_id = None
        try:
            async with self._sessions.begin() as session:
                letter = await session.scalar(
                    select(DeadLetter)
                    .where(DeadLetter.state == "replaying", DeadLetter.id > after)
                    .order_by(DeadLetter.id)
                    .limit(1)
                    .with_for_update(skip_locked=True)
                )
                if letter is None:
                    return None
                letter_id = letter.id
                await self._replay(session, letter)
                letter.state = "replayed"
                letter.replays += 1
                letter.replayed_at = await session.scalar(select(func.now()))
            log.info("a dead letter was replayed", letter=letter_id)
        except Exception as error:
            if letter_id is None:
                raise
            if not is_transient(error):
                await self._still_dead(letter_id, error)
        return letter_id

    async def _replay(self, session: AsyncSession, letter: DeadLetter) -> None:
        record = dead_letters.record_of(letter)
        if letter.origin == dead_letters.OUTBOX:
            say_again(session, record)
        else:
            await self._handlings[letter.topic].replay(session, record)

    async def _still_dead(self, letter_id: int, error: Exception) -> None:
        """Unless another replica has replayed it meanwhile."""
        detail = error.detail if isinstance(error, Failure) else type(error).__name__
        log.warning("a dead letter failed again", letter=letter_id, error=detail)
        async with self._sessions.begin() as session:
            await session.execute(
                update(DeadLetter)
                .where(DeadLetter.id == letter_id, DeadLetter.state == "replaying")
                .values(state="dead", replays=DeadLetter.replays + 1, detail=storable(detail))
            )
