"""Documents as their owner sees them: read, listed, shown."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from chassis.transactions import Driver
from contracts.documents import Document, DocumentError, DocumentLinks, DocumentPage, DocumentStatus
from sqlalchemy import Select, func, literal, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from gateway import cursors
from gateway.cursors import Place, Query
from gateway.errors import DocumentNotFound, DocumentNotReady
from gateway.tables import DocumentRow

_LIVE = "SELECT id, live_version FROM documents WHERE owner_id = $1 AND id = ANY($2::uuid[]) AND status <> $3"


def show(row: DocumentRow) -> Document:
    """The document as the API tells it."""
    verdict = row.progress.verdict
    return Document(
        id=row.id,
        filename=row.filename,
        media_type=row.media_type,
        size_bytes=row.size_bytes,
        sha256=row.sha256,
        status=DocumentStatus(row.status),
        version=row.version,
        live_version=row.live_version,
        pages=row.pages,
        chunk_count=row.chunk_count,
        embedded_count=row.embedded_count,
        error=verdict
        and DocumentError(stage=verdict.stage, code=verdict.code, detail=verdict.detail, retryable=verdict.retryable),
        created_at=row.created_at,
        updated_at=row.updated_at,
        last_processed_at=row.last_processed_at,
        links=_links(row.id),
    )


async def find(session: AsyncSession, owner: UUID, document: UUID) -> DocumentRow:
    """The owner's document. Raises `DocumentNotFound`, also for somebody else's."""
    row = await session.get(DocumentRow, document, populate_existing=True)
    if row is None or row.owner_id != owner:
        raise DocumentNotFound(document)
    return row


async def find_readable(session: AsyncSession, owner: UUID, document: UUID) -> DocumentRow:
    """The same for its content, which is gone as soon as the document is being deleted."""
    row = await find(session, owner, document)
    if row.status == DocumentStatus.DELETING:
        raise DocumentNotFound(document)
    return row


async def live_versions(driver: Driver, owner: UUID, documents: Sequence[UUID]) -> dict[UUID, int]:
    """Which version of each answers. Raises `DocumentNotFound` or `DocumentNotReady` if one does not."""
    rows = await driver.fetch(_LIVE, owner, documents, DocumentStatus.DELETING.value)
    found = {row["id"]: row["live_version"] for row in rows}
    if missing := [document for document in documents if document not in found]:
        raise DocumentNotFound(*missing)
    if waiting := [document for document in documents if found[document] is None]:
        raise DocumentNotReady(*waiting)
    return {document: live for document, live in found.items() if live is not None}


async def page(session: AsyncSession, owner: UUID, query: Query, *, limit: int, cursor: str | None) -> DocumentPage:
    """One page of the owner's documents, and how many there are of each status in all."""
    after = cursors.read(query, cursor) if cursor else None
    rows = list(await session.scalars(_listed(owner, query, limit=limit + 1, after=after)))
    more = len(rows) > limit
    return DocumentPage(
        items=[show(row) for row in rows[:limit]],
        next_cursor=cursors.write(query, _place(query, rows[limit - 1])) if more else None,
        counts=await _counts(session, owner),
    )


def _listed(owner: UUID, query: Query, *, limit: int, after: Place | None) -> Select[DocumentRow]:
    key: InstrumentedAttribute[Any] = DocumentRow.folded_name if query.by_name else DocumentRow.created_at
    order = (key.desc(), DocumentRow.id.desc()) if query.descending else (key, DocumentRow.id)
    listed = select(DocumentRow).where(DocumentRow.owner_id == owner).order_by(*order).limit(limit)
    if query.status:
        listed = listed.where(DocumentRow.status.in_([status.value for status in query.status]))
    if query.q:
        listed = listed.where(DocumentRow.folded_name.contains(query.q.casefold(), autoescape=True))
    if after is not None:
        here, there = tuple_(key, DocumentRow.id), tuple_(literal(after.key), literal(after.id))
        listed = listed.where(here < there if query.descending else here > there)
    return listed


def _place(query: Query, row: DocumentRow) -> Place:
    return Place(key=row.folded_name if query.by_name else row.created_at, id=row.id)


async def _counts(session: AsyncSession, owner: UUID) -> dict[DocumentStatus, int]:
    rows = await session.execute(
        select(DocumentRow.status, func.count()).where(DocumentRow.owner_id == owner).group_by(DocumentRow.status)
    )
    found: dict[str, int] = {row[0]: row[1] for row in rows}
    return {status: found.get(status.value, 0) for status in DocumentStatus}


def _links(document: UUID) -> DocumentLinks:
    own = f"/api/docs/{document}"
    return DocumentLinks(self=own, raw=f"{own}/raw", chunks=f"{own}/chunks", timeline=f"{own}/timeline")
