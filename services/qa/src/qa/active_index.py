"""Which index answers questions, and with which model they must be embedded."""

import asyncio
import time
from dataclasses import dataclass

from chassis.transactions import Driver
from contracts.facts import IndexActivated
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from qa.statements import Statements
from qa.tables import IndexRow

# The index that was active before stays complete for a day: a second of it is harmless.
FRESH_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class ActiveIndex:
    """An index that was activated."""

    index_id: str
    generation: int
    model: str
    dimension: int
    shards: int


class ActiveIndexes:
    """The active index, from memory; read again in the background when that is older than a second."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements
        self._known: ActiveIndex | None = None
        self._read_at = 0.0
        self._reading: asyncio.Task[ActiveIndex | None] | None = None

    async def current(self) -> ActiveIndex | None:
        """The active index; None if none was ever activated."""
        if self._known is None:
            return await self.read()
        if time.monotonic() - self._read_at > FRESH_SECONDS and (self._reading is None or self._reading.done()):
            self._reading = asyncio.create_task(self.read())
            self._reading.add_done_callback(_forget_failure)
        return self._known

    async def read(self) -> ActiveIndex | None:
        """The active index as the table has it now."""
        rows = await self._statements.rows(_HIGHEST)
        if rows:
            self._known = ActiveIndex(**rows[0])
            self._read_at = time.monotonic()
        return self._known

    async def check(self) -> str | None:
        """For readiness: without an index nothing can be found."""
        return None if await self.current() else "no index has been activated yet"


_HIGHEST = "SELECT index_id, generation, model, dimension, shards FROM indexes ORDER BY generation DESC LIMIT 1"


async def keep(session: AsyncSession, fact: IndexActivated) -> None:
    """Remember an activated index. Said again at each start of the embedder: the same one changes nothing."""
    values = {
        "generation": fact.generation,
        "model": fact.model,
        "dimension": fact.dimension,
        "shards": fact.shards,
    }
    await session.execute(
        insert(IndexRow)
        .values(index_id=fact.index_id, **values)
        .on_conflict_do_update(
            index_elements=[IndexRow.index_id], set_=values, where=IndexRow.generation < fact.generation
        )
    )


async def is_searchable_in_active(driver: Driver, indexes: tuple[str, ...]) -> bool:
    """Whether a document whose vectors are in these indexes can be found in the active one.

    An index is only activated once no chunk lacks its vector there, so one that became active after those named has
    them as well.
    """
    rows = await driver.fetch("SELECT index_id, generation FROM indexes")
    generations = {row["index_id"]: row["generation"] for row in rows}
    if not generations:
        return False
    active = max(generations.values())
    return any(generations.get(index_id, active + 1) <= active for index_id in indexes)


def _forget_failure(task: asyncio.Task[ActiveIndex | None]) -> None:
    # The next question tries again; a database that is away shows in what that question itself reads.
    if not task.cancelled():
        task.exception()
