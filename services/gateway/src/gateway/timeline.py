"""A document's timeline: each step once, however often it is told."""

from uuid import UUID

from chassis.transactions import driver_of
from contracts.documents import Timeline, TimelineItem
from contracts.facts import (
    DocumentChunked,
    DocumentEmbedded,
    DocumentFact,
    DocumentFailed,
    DocumentReady,
    DocumentUploaded,
)
from contracts.flow import FLOW
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.tables import DocumentEventRow

_NOTE = """
    INSERT INTO document_events (document_id, version, fact, attempt, service, detail)
    SELECT * FROM unnest($1::uuid[], $2::int[], $3::text[], $4::int[], $5::text[], $6::text[]) ON CONFLICT DO NOTHING
"""

_SAID_BY = {step.fact.type: step.said_by[0] for step in FLOW if len(step.said_by) == 1}
"""The service that says a fact. Several may say that a document failed: that fact names its stage itself."""


async def note(session: AsyncSession, *facts: DocumentFact) -> None:
    """Add these steps; a later round of a known fact is none."""
    if not facts:
        return
    await (await driver_of(session)).execute(
        _NOTE,
        [fact.document_id for fact in facts],
        [fact.version for fact in facts],
        [fact.type for fact in facts],
        [fact.attempt for fact in facts],
        [fact.stage if isinstance(fact, DocumentFailed) else _SAID_BY[fact.type] for fact in facts],
        [_detail(fact) for fact in facts],
    )


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
            return _many(size, "byte")
        case DocumentChunked(chunk_count=chunks, pages=pages) | DocumentReady(chunk_count=chunks, pages=pages):
            return _many(chunks, "chunk") if pages is None else f"{_many(chunks, 'chunk')} on {_many(pages, 'page')}"
        case DocumentEmbedded(chunk_count=chunks):
            return _many(chunks, "vector")
        case DocumentFailed(code=code, detail=detail):
            return f"{code}: {detail}"
        case _:
            return None


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
