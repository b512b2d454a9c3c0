"""Deleting documents: hidden from the transaction on that begins it, proved by the receipts of four stores."""

from collections.abc import Sequence
from uuid import UUID, uuid4

from chassis.database import Sessions, retry_deadlock
from contracts.documents import DeletionsAnswer, DocumentDeletion, DocumentStatus
from contracts.facts import DocumentDeleted
from messaging import fences, jobs
from messaging.fences import Fence
from messaging.outbox import Outbox
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway import owners, processing, timeline
from gateway.errors import DocumentNotFound
from gateway.tables import DeletionRow, DocumentRow, RawLinkRow

PURGE = "purge"
"""The kind of job that erases a document from the object store."""


class Delete:
    """Deletes documents of an owner, in any state; asked again it gives the same receipt until that is complete."""

    def __init__(self, *, sessions: Sessions, outbox: Outbox) -> None:
        self._sessions = sessions
        self._outbox = outbox

    async def one(self, owner: UUID, document: UUID) -> DocumentDeletion:
        """Raises `DocumentNotFound`."""
        answer = await self.many(owner, [document])
        if not answer.items:
            raise DocumentNotFound(document)
        return answer.items[0]

    async def many(self, owner: UUID, documents: Sequence[UUID]) -> DeletionsAnswer:
        """All of them in one transaction, answered in the order they were named, each once."""
        named = list(dict.fromkeys(documents))
        found = await retry_deadlock(lambda: self._begin(owner, named))
        return DeletionsAnswer(
            items=[DocumentDeletion(deletion_id=found[id_], document_id=id_) for id_ in named if id_ in found],
            not_found=[id_ for id_ in named if id_ not in found],
        )

    async def _begin(self, owner: UUID, documents: Sequence[UUID]) -> dict[UUID, UUID]:
        async with self._sessions.begin() as session:
            # Whose they are comes first: nobody else's fence is ever locked, or made, by a made-up id.
            own = select(DocumentRow.id).where(DocumentRow.id.in_(documents), DocumentRow.owner_id == owner)
            return await begin(session, self._outbox, owner, (await session.scalars(own)).all())


async def begin(session: AsyncSession, outbox: Outbox, owner: UUID, documents: Sequence[UUID]) -> dict[UUID, UUID]:
    """The deletion of each document that is still there, begun now or earlier."""
    locked = await fences.lock_many(session, documents)
    rows = await processing.lock(session, documents)
    running = [row for row in rows if row.status != DocumentStatus.DELETING]
    for row in running:
        await _begin_one(session, outbox, locked[str(row.id)], row)
    if running:
        ids = [row.id for row in running]
        await session.execute(delete(RawLinkRow).where(RawLinkRow.document_id.in_(ids)))
        await owners.move(session, owner, ids)
    begun = await session.execute(
        select(DeletionRow.document_id, DeletionRow.id).where(DeletionRow.document_id.in_([row.id for row in rows]))
    )
    return {document: deletion for document, deletion in begun if document is not None}


async def _begin_one(session: AsyncSession, outbox: Outbox, fence: Fence, row: DocumentRow) -> None:
    row.progress = row.progress.deleted()
    fence.hear(row.version)
    fence.delete()
    deletion = DeletionRow(id=uuid4(), owner_id=row.owner_id, document_id=row.id, version=row.version)
    session.add(deletion)
    fact = deleted(deletion, row.id)
    outbox.add(session, fact)
    await timeline.note(session, fact)
    await jobs.add(
        session,
        kind=PURGE,
        subject=row.id,
        version=row.version,
        owner=row.owner_id,
        payload={"deletion_id": str(deletion.id)},
    )


def deleted(deletion: DeletionRow, document: UUID) -> DocumentDeleted:
    """The fact that asks every store to erase the document."""
    return DocumentDeleted(
        document_id=document,
        owner_id=deletion.owner_id,
        version=deletion.version,
        round=deletion.round or 0,
        deletion_id=deletion.id,
    )
