"""A document's timeline: each step once, however often it is told."""

from uuid import UUID

from contracts.documents import Timeline, TimelineItem
from contracts.facts import (
    DocumentChunked,
    DocumentEmbedded,
    DocumentFact,
    DocumentFailed,
    DocumentReady,
    DocumentUploaded,
)
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.tables import DocumentEventRow

_SAID_BY = {
    "document.uploaded.v1": "gateway",
    "document.parsing_started.v1": "ingest",
    "document.chunked.v1": "ingest",
    "document.embedding_progressed.v1": "embedder",
    "document.embedded.v1": "embedder",
    "document.ready.v1": "qa",
    "document.deleted.v1": "gateway",
}


async def note(session: AsyncSession, *facts: DocumentFact) -> bool:
    """Add these steps. True if any is new: a later round of a known fact is none."""
    if not facts:
        return False
    rows = [
        {
            "document_id": fact.document_id,
            "version": fact.version,
            "fact": fact.type,
            "attempt": fact.attempt,
            "service": fact.stage if isinstance(fact, DocumentFailed) else _SAID_BY[fact.type],
            "detail": _detail(fact),
        }
        for fact in facts
    ]
    added = await session.scalars(
        insert(DocumentEventRow).values(rows).on_conflict_do_nothing().returning(DocumentEventRow.version)
    )
    return bool(added.all())


async def read(session: AsyncSession, document: UUID) -> Timeline:
    """All steps, oldest first."""
    rows = await session.scalars(
        select(DocumentEventRow).where(DocumentEventRow.document_id == document).order_by(DocumentEventRow.at)
    )
    return Timeline(
        items=[
            TimelineItem(
                at=row.at,
                event=row.fact,
                service=row.service,
                version=row.version,
                attempt=row.attempt,
                detail=row.detail,
            )
            for row in rows
        ]
    )


def _detail(fact: DocumentFact) -> str | None:
    match fact:
        case DocumentUploaded(size_bytes=size):
            return f"{size} bytes"
        case DocumentChunked(chunk_count=chunks, pages=pages) | DocumentReady(chunk_count=chunks, pages=pages):
            return f"{chunks} chunks" if pages is None else f"{chunks} chunks on {pages} pages"
        case DocumentEmbedded(chunk_count=chunks):
            return f"{chunks} vectors"
        case DocumentFailed(code=code, detail=detail):
            return f"{code}: {detail}"
        case _:
            return None
