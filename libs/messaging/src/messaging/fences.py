"""The fence of a subject: locked first, in every handler and in every final transaction."""

from collections.abc import Iterable
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from messaging.tables import FenceRow

Fence = FenceRow

# One round trip, whether the row is there or not, and no new row version where it is. Nothing comes back if another
# transaction makes the row at this moment: then it is there the next time.
_LOCK = (
    select(FenceRow)
    .from_statement(
        text("""
        WITH found AS (SELECT * FROM fences WHERE subject = :subject FOR UPDATE),
             made AS (INSERT INTO fences (subject, version) SELECT :subject, :heard
                      WHERE NOT EXISTS (SELECT FROM found)
                      ON CONFLICT DO NOTHING RETURNING *)
        SELECT * FROM found UNION ALL SELECT * FROM made
    """).columns(*FenceRow.__table__.columns)
    )
    .execution_options(populate_existing=True)
)


async def lock(session: AsyncSession, subject: str | UUID, *, heard: int = 0) -> Fence:
    """The subject's fence, locked until the transaction ends; made if this service has never heard of it.

    `heard` is the version that was heard of, if there is one: a new fence has it at once, and need not be changed.
    """
    while True:
        fence: Fence | None = await session.scalar(_LOCK, {"subject": str(subject), "heard": heard})
        if fence is not None:
            return fence


async def lock_many(session: AsyncSession, subjects: Iterable[str | UUID]) -> dict[str, Fence]:
    """Several fences, locked in the order of their ids: two transactions never wait for each other."""
    return {subject: await lock(session, subject) for subject in sorted({str(subject) for subject in subjects})}


async def share(session: AsyncSession, subjects: Iterable[str | UUID]) -> dict[str, Fence]:
    """The fences, kept from changing until the transaction ends; a subject never heard of gets one, to be kept, too."""
    wanted = sorted({str(subject) for subject in subjects})
    found = await _share_found(session, wanted)
    if len(found) < len(wanted):
        missing = [{"subject": subject} for subject in wanted if subject not in found]
        await session.execute(insert(FenceRow).values(missing).on_conflict_do_nothing())
        found = await _share_found(session, wanted)
    return found


async def _share_found(session: AsyncSession, subjects: list[str]) -> dict[str, Fence]:
    rows = await session.scalars(
        select(FenceRow)
        .where(FenceRow.subject.in_(subjects))
        .order_by(FenceRow.subject)
        .with_for_update(read=True)
        .execution_options(populate_existing=True)
    )
    return {row.subject: row for row in rows}


async def read(session: AsyncSession, subject: str | UUID) -> Fence | None:
    """The fence as it is now, unlocked; None if this service has never heard of the subject."""
    return await session.get(FenceRow, str(subject), populate_existing=True)
