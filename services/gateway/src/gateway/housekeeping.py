"""What has had its time: keys, links, and objects that no row knows."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog
from chassis.objects import ObjectStore
from contracts.objects import document_prefix
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.tables import DocumentRow, IdempotencyRow, RawLinkRow

log = structlog.stdlib.get_logger(__name__)

BATCH = 500


async def prune_keys(session: AsyncSession, *, remembered: timedelta) -> None:
    """Forget what Idempotency-Keys were answered."""
    await session.execute(delete(IdempotencyRow).where(IdempotencyRow.created_at < func.now() - remembered))


async def prune_links(session: AsyncSession) -> None:
    """Remove links that have expired."""
    await session.execute(delete(RawLinkRow).where(RawLinkRow.expires_at < func.now()))


async def remove_orphans(session: AsyncSession, *, store: ObjectStore, older_than: timedelta) -> None:
    """Remove what an upload that was never carried out left behind: old objects of documents that have no row."""
    await store.sweep()
    async for batch in _batches(_old_documents(store, datetime.now(UTC) - older_than)):
        known = set(await session.scalars(select(DocumentRow.id).where(DocumentRow.id.in_(batch))))
        await session.commit()  # nothing stays open while the store is asked
        for document in batch.keys() - known:
            removed = await store.delete_prefix(document_prefix(batch[document], document))
            log.warning("orphan removed", document_id=str(document), objects=removed)


async def _old_documents(store: ObjectStore, before: datetime) -> AsyncIterator[tuple[UUID, UUID]]:
    """Documents with an object from before that time, and whose they are."""
    async for found in store.list("users/"):
        if found.modified < before and (ids := _ids(found.key)) is not None:
            yield ids


async def _batches(pairs: AsyncIterator[tuple[UUID, UUID]]) -> AsyncIterator[dict[UUID, UUID]]:
    batch: dict[UUID, UUID] = {}
    async for document, owner in pairs:
        batch[document] = owner
        if len(batch) == BATCH:
            yield batch
            batch = {}
    if batch:
        yield batch


def _ids(key: str) -> tuple[UUID, UUID] | None:
    """Document and owner of a key as `contracts.objects` computes it."""
    parts = key.split("/")
    if len(parts) < 5 or parts[2] != "documents":
        return None
    try:
        return UUID(parts[3]), UUID(parts[1])
    except ValueError:
        return None
