"""What happens to a document's row: it is started again, and it hears of its progress."""

from collections.abc import Iterable
from uuid import UUID

from chassis.transactions import driver_of
from contracts.documents import DocumentStatus
from contracts.facts import DocumentFact, DocumentUploaded
from messaging.fences import Fence
from messaging.outbox import Outbox
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway import owners, timeline
from gateway.measuring import measure
from gateway.progress import TERMINAL, Progress
from gateway.tables import DocumentRow

_STANDING = """
    SELECT id, owner_id, version, status, live_version, pages, chunk_count, embedded_count, error_stage, error_code,
        error_detail, error_retryable
    FROM documents WHERE id = $1 FOR UPDATE
"""

# The row, which is locked, its owner, who is the last lock of a transaction, and its place in the owner's streams: one
# statement, for it is at every step of every document.
_ADVANCE = f"""
    WITH {owners.STEP}
    UPDATE documents SET status = $4, live_version = $5, pages = $6, chunk_count = $7, embedded_count = $8,
        error_stage = $9, error_code = $10, error_detail = $11, error_retryable = $12,
        last_processed_at = CASE WHEN $13 THEN now() ELSE last_processed_at END,
        moved_at = now(), updated_at = now(), ask_at = NULL, unanswered = 0, position = owner.counter
    FROM owner WHERE documents.id = $3
"""  # noqa: S608 - of constants


async def lock(session: AsyncSession, documents: Iterable[UUID]) -> list[DocumentRow]:
    """The rows, locked in the order of their ids; those that are gone are left out. Their fences come first."""
    rows = await session.scalars(
        select(DocumentRow)
        .where(DocumentRow.id.in_(list(documents)))
        .order_by(DocumentRow.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return list(rows)


def uploaded(row: DocumentRow) -> DocumentUploaded:
    """The fact that asks for the document's newest version."""
    return DocumentUploaded(
        document_id=row.id,
        owner_id=row.owner_id,
        version=row.version,
        round=row.round,
        media_type=row.media_type,
        size_bytes=row.size_bytes,
        sha256=row.sha256,
    )


async def start_again(session: AsyncSession, outbox: Outbox, fence: Fence, row: DocumentRow) -> None:
    """The next version, from the start; the old one answers until it is ready. Raises `IllegalTransition`."""
    row.progress = row.progress.again()
    row.started_at = row.moved_at = row.updated_at = func.now()
    row.ask_at = None
    row.round = row.unanswered = 0
    fence.hear(row.version)
    fact = uploaded(row)
    outbox.add(session, fact)
    await timeline.note(session, fact)


async def hear(session: AsyncSession, fence: Fence, fact: DocumentFact) -> None:
    """Move the document on. A fact heard again, or about what is over, changes nothing."""
    fence.hear(fact.version)
    found = await (await driver_of(session)).fetchrow(_STANDING, fact.document_id)
    if found is None:
        return
    row = DocumentRow(**found)
    before = row.progress
    if row.owner_id != fact.owner_id or row.status == DocumentStatus.DELETING or fact.version > before.version:
        return
    after = before.hear(fact)
    await timeline.note(session, fact)
    if after != before:
        await _advance(session, row, before, after)


async def _advance(session: AsyncSession, row: DocumentRow, before: Progress, after: Progress) -> None:
    ends = after.status in TERMINAL and before.status not in TERMINAL
    if ends and after.status is DocumentStatus.READY:
        await measure(session, row)
    verdict = after.verdict
    await (await driver_of(session)).execute(
        _ADVANCE,
        row.owner_id,
        1,
        row.id,
        after.status.value,
        after.live_version,
        after.pages,
        after.chunk_count,
        after.embedded_count,
        verdict.stage if verdict else None,
        verdict.code if verdict else None,
        verdict.detail if verdict else None,
        verdict.retryable if verdict else None,
        ends,
    )
