"""What has to be done now and then, by one replica at a time."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from chassis.database import Sessions, is_transient
from sqlalchemy import Interval, bindparam, case, func, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from messaging.tables import ChoreRow

CLAIM = timedelta(minutes=10)  # after that a replica that died over a chore is followed by another
RETRY = timedelta(minutes=1)
LONGEST_SLEEP = 60.0

_CLAIM = text("""
    UPDATE chores SET claimed_until = clock_timestamp() + :claim
    WHERE name = (SELECT name FROM chores WHERE name = :name AND due_at <= clock_timestamp()
                  AND (claimed_until IS NULL OR claimed_until < clock_timestamp()) FOR UPDATE SKIP LOCKED)
    RETURNING clock_timestamp()
""").bindparams(bindparam("claim", type_=Interval))

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Chore:
    """Something to do every so often. `run` gets a session of its own, committed when it returns.

    It is claimed first, in a transaction of its own, so `run` may commit in between and may call the outside while no
    transaction is open. It is harmless twice: a replica that dies over it is followed by another.
    """

    name: str
    every: timedelta
    run: Callable[[AsyncSession], Awaitable[None]]


class ChoreRunner:
    """Runs one chore when it is due, here or in another replica."""

    def __init__(self, chore: Chore, sessions: Sessions) -> None:
        self._chore = chore
        self._sessions = sessions
        self._woken = asyncio.Event()

    async def run(self) -> None:
        """Run it whenever it is due, until cancelled."""
        registered = False
        while True:
            try:
                if not registered:
                    await self._register()
                    registered = True
                await self.run_if_due()
            except Exception as error:
                if not is_transient(error):
                    log.exception("a chore could not be claimed", chore=self._chore.name)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(self._chore.every.total_seconds(), LONGEST_SLEEP)):
                    await self._woken.wait()
            self._woken.clear()

    async def run_if_due(self) -> bool:
        """True if it was run here."""
        async with self._sessions.begin() as session:
            claimed = await session.scalar(_CLAIM, {"name": self._chore.name, "claim": CLAIM})
        if claimed is None:
            return False
        after = timedelta(0)  # if it is cut off
        try:
            async with self._sessions() as session:
                await self._chore.run(session)
                await session.commit()
            after = self._chore.every
        except Exception as error:
            log.warning("a chore failed", chore=self._chore.name, exc_info=not is_transient(error))
            after = min(self._chore.every, RETRY)
        finally:
            await self._release(claimed, after)
        return True

    async def hurry(self) -> None:
        """Make it due now."""
        async with self._sessions.begin() as session:
            await session.execute(
                update(ChoreRow).where(ChoreRow.name == self._chore.name).values(due_at=func.clock_timestamp())
            )
        self._woken.set()

    async def _register(self) -> None:
        async with self._sessions.begin() as session:
            await session.execute(insert(ChoreRow).values(name=self._chore.name).on_conflict_do_nothing())

    async def _release(self, claimed: datetime, after: timedelta) -> None:
        """Due again after so long, or now if somebody has asked for it since it was claimed."""
        again = case((ChoreRow.due_at > claimed, ChoreRow.due_at), else_=func.clock_timestamp() + after)
        async with self._sessions.begin() as session:
            await session.execute(
                update(ChoreRow).where(ChoreRow.name == self._chore.name).values(due_at=again, claimed_until=None)
            )
