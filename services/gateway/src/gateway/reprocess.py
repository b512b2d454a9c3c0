"""Processing again: a new version, while the old one goes on answering."""

from collections.abc import Sequence
from functools import partial
from uuid import UUID

from chassis.database import Sessions, retry_deadlock
from contracts.documents import Document
from messaging import fences
from messaging.outbox import Outbox
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway import owners, processing
from gateway.documents import find, show
from gateway.errors import DocumentBusy, DocumentNotFound
from gateway.progress import IllegalTransition
from gateway.tables import MAY_SUCCEED_LATER, DocumentRow

BATCH = 100


class Reprocess:
    """Starts a document, or all that failed and may succeed later, once more."""

    def __init__(self, *, sessions: Sessions, outbox: Outbox) -> None:
        self._sessions = sessions
        self._outbox = outbox

    async def one(self, owner: UUID, document: UUID) -> Document:
        """The document as it stands then. Raises `DocumentNotFound` and `DocumentBusy`."""
        return await retry_deadlock(lambda: self._one(owner, document))

    async def failed(self, owner: UUID) -> int:
        """How many there were; what failed by its own fault is left out."""
        accepted = 0
        for batch in await self._failed(owner):
            accepted += await retry_deadlock(partial(self._batch, owner, batch))
        return accepted

    async def _one(self, owner: UUID, document: UUID) -> Document:
        async with self._sessions.begin() as session:
            await find(session, owner, document)
            fence = await fences.lock(session, document)
            rows = await processing.lock(session, [document])
            if not rows:
                raise DocumentNotFound(document)
            try:
                await processing.start_again(session, self._outbox, fence, rows[0])
            except IllegalTransition as illegal:
                raise DocumentBusy(document, illegal.status) from None
            await owners.move_if_open(session, owner, [document])
            await session.refresh(rows[0])
            return show(rows[0])

    async def _failed(self, owner: UUID) -> list[Sequence[UUID]]:
        async with self._sessions() as session:
            failed = select(DocumentRow.id).where(DocumentRow.owner_id == owner, MAY_SUCCEED_LATER)
            ids = (await session.scalars(failed.order_by(DocumentRow.id))).all()
        return [ids[at : at + BATCH] for at in range(0, len(ids), BATCH)]

    async def _batch(self, owner: UUID, documents: Sequence[UUID]) -> int:
        async with self._sessions.begin() as session:
            again = await try_again(session, self._outbox, documents)
            if again:
                await owners.move_if_open(session, owner, again)
        return len(again)


async def try_again(session: AsyncSession, outbox: Outbox, documents: Sequence[UUID]) -> list[UUID]:
    """Start those again that failed, but not by their own fault; which ones that was."""
    locked = await fences.lock_many(session, documents)
    rows = await processing.lock(session, documents)
    again = [row for row in rows if row.progress.may_succeed_later]
    for row in again:
        await processing.start_again(session, outbox, locked[str(row.id)], row)
    return [row.id for row in again]
