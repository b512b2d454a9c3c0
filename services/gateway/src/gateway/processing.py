"""What happens to a document's row: it is started again, and it hears of its progress."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias
from uuid import UUID

import asyncpg
from chassis.transactions import driver_of
from contracts.documents import DocumentStatus
from contracts.facts import DocumentFact, DocumentUploaded
from messaging import fences
from messaging.fences import Fence
from messaging.outbox import Outbox
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway import owners, timeline
from gateway.measuring import measure
from gateway.progress import TERMINAL, Progress, verdict_of
from gateway.tables import DocumentRow

_STANDING = """
    SELECT id, owner_id, version, status, live_version, pages, chunk_count, embedded_count, error_stage, error_code,
        error_detail, error_retryable
    FROM documents WHERE id = ANY($1::uuid[]) ORDER BY id FOR UPDATE
"""

# The rows, which are locked, their owner, who is the last lock of a transaction, and their places in the owner's
# streams: one statement, for it is at every step of every document.
_ADVANCE = f"""
    WITH {owners.STEP}
    UPDATE documents SET status = now.status, live_version = now.live_version, pages = now.pages,
        chunk_count = now.chunk_count, embedded_count = now.embedded_count,
        error_stage = now.error_stage, error_code = now.error_code, error_detail = now.error_detail,
        error_retryable = now.error_retryable,
        last_processed_at = CASE WHEN now.ends THEN now() ELSE last_processed_at END,
        moved_at = now(), updated_at = now(), ask_at = NULL, unanswered = 0, position = owner.counter - $2 + now.number
    FROM owner, unnest($3::uuid[], $4::text[], $5::int[], $6::int[], $7::int[], $8::int[], $9::text[], $10::text[],
            $11::text[], $12::boolean[], $13::boolean[]) WITH ORDINALITY
        AS now (id, status, live_version, pages, chunk_count, embedded_count, error_stage, error_code, error_detail,
            error_retryable, ends, number)
    WHERE documents.id = now.id
"""  # noqa: S608 - of constants

_Row: TypeAlias = "asyncpg.Record"


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


async def hear(session: AsyncSession, facts: Sequence[DocumentFact]) -> None:
    """Move documents of one owner on. A fact heard again, or about what is over, changes nothing."""
    for fact in facts:
        (await fences.lock(session, fact.document_id)).hear(fact.version)
    rows = await (await driver_of(session)).fetch(_STANDING, list({fact.document_id for fact in facts}))
    before = {row["id"]: _progress(row) for row in rows if row["owner_id"] == facts[0].owner_id}
    after, steps = dict(before), list[DocumentFact]()
    for fact in facts:
        progress = after.get(fact.document_id)
        if progress is None or progress.status is DocumentStatus.DELETING or fact.version > progress.version:
            continue
        after[fact.document_id] = progress.hear(fact)
        steps.append(fact)
    await timeline.note(session, *steps)
    moved = {document: progress for document, progress in after.items() if progress != before[document]}
    if moved:
        await _advance(session, facts[0].owner_id, before, moved)


async def _advance(
    session: AsyncSession, owner: UUID, before: Mapping[UUID, Progress], moved: Mapping[UUID, Progress]
) -> None:
    ends = {id_ for id_, now in moved.items() if now.status in TERMINAL and before[id_].status not in TERMINAL}
    await measure(session, {id_: moved[id_].version for id_ in ends if moved[id_].status is DocumentStatus.READY})
    verdicts = [progress.verdict for progress in moved.values()]
    await (await driver_of(session)).execute(
        _ADVANCE,
        owner,
        len(moved),
        list(moved),
        [progress.status.value for progress in moved.values()],
        [progress.live_version for progress in moved.values()],
        [progress.pages for progress in moved.values()],
        [progress.chunk_count for progress in moved.values()],
        [progress.embedded_count for progress in moved.values()],
        [verdict and verdict.stage for verdict in verdicts],
        [verdict and verdict.code for verdict in verdicts],
        [verdict and verdict.detail for verdict in verdicts],
        [verdict and verdict.retryable for verdict in verdicts],
        [id_ in ends for id_ in moved],
    )


def _progress(row: _Row) -> Progress:
    return Progress(
        version=row["version"],
        status=DocumentStatus(row["status"]),
        live_version=row["live_version"],
        pages=row["pages"],
        chunk_count=row["chunk_count"],
        embedded_count=row["embedded_count"],
        verdict=verdict_of(row["error_stage"], row["error_code"], row["error_detail"], row["error_retryable"]),
    )
