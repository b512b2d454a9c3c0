"""The rows of an upload: each file becomes a document, or is the one that is there already."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from contracts.documents import DocumentStatus, UploadedDocument
from messaging.outbox import Outbox
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from gateway import processing, timeline
from gateway.documents import show
from gateway.intake import Received
from gateway.reprocess import try_again
from gateway.tables import NOT_DELETING, DocumentRow

_INSERT = insert(DocumentRow).on_conflict_do_nothing().returning(DocumentRow)
_TRIES = 5  # each beyond the first means that the same bytes were deleted in between


@dataclass(frozen=True)
class Kept:
    """A document as an answer names it: `duplicate` if its bytes were there already."""

    id: UUID
    duplicate: bool


@dataclass(frozen=True)
class Recorded:
    """The documents of an answer in the order of its files, and those that have changed.

    While their new rows are `held`, the session knows them, and nobody reads them again.
    """

    kept: list[Kept]
    changed: list[UUID]
    held: Sequence[DocumentRow] = ()


async def record(session: AsyncSession, outbox: Outbox, owner: UUID, files: Sequence[Received]) -> Recorded:
    """Everything that a 202 promises, but for the owner's streams.

    New rows come in the order of their sha256; the loser of a race gets the winner's document. The same bytes as those
    of a document that failed, but not by its own fault, process it again.
    """
    held = list[DocumentRow]()
    by_sha256 = await _rows(session, outbox, owner, files, held)
    kept = [Kept(by_sha256[file.sha256], duplicate=by_sha256[file.sha256] != file.document_id) for file in files]
    new = [one.id for one in kept if not one.duplicate]
    known = [one.id for one in kept if one.id not in new]
    again = await try_again(session, outbox, await _retryable(session, known)) if known else []
    return Recorded(kept=kept, changed=[*new, *again], held=held)


async def render(session: AsyncSession, kept: Sequence[Kept]) -> list[UploadedDocument]:
    """The documents as they stand; what is gone meanwhile is left out. Those just inserted are not read again."""
    rendered = []
    for one in kept:
        row = await session.get(DocumentRow, one.id, populate_existing=one.duplicate)
        if row is not None:
            rendered.append(UploadedDocument(**show(row).model_dump(), duplicate=one.duplicate))
    return rendered


async def _rows(
    session: AsyncSession, outbox: Outbox, owner: UUID, files: Sequence[Received], held: list[DocumentRow]
) -> dict[str, UUID]:
    """Which document each sha256 is; the rows that are new are added to `held`."""
    wanted = {file.sha256: file for file in reversed(files)}  # the first of equal ones counts
    found: dict[str, UUID] = {}
    for _ in range(_TRIES):
        missing = [wanted[digest] for digest in sorted(wanted.keys() - found.keys())]
        rows = await _insert(session, owner, missing)
        held += rows
        facts = [processing.uploaded(row) for row in rows]
        for fact in facts:
            outbox.add(session, fact)
        await timeline.note(session, *facts)
        found |= {row.sha256: row.id for row in rows}
        if len(rows) < len(missing):
            found |= await _existing(session, owner, [file.sha256 for file in missing])
        if len(found) == len(wanted):
            return found
    raise RuntimeError("the same bytes are uploaded and deleted again and again")


async def _insert(session: AsyncSession, owner: UUID, files: Sequence[Received]) -> list[DocumentRow]:
    values = [
        {
            "id": file.document_id,
            "owner_id": owner,
            "filename": file.filename,
            "folded_name": file.filename.casefold(),
            "media_type": file.media_type,
            "size_bytes": file.size_bytes,
            "sha256": file.sha256,
            "status": DocumentStatus.UPLOADED.value,
            "version": 1,
        }
        for file in files
    ]
    # Values as parameters, not as part of the statement: it is compiled once, not with every upload.
    return list(await session.scalars(_INSERT, values))


async def _existing(session: AsyncSession, owner: UUID, digests: Sequence[str]) -> dict[str, UUID]:
    rows = await session.execute(
        select(DocumentRow.sha256, DocumentRow.id).where(
            DocumentRow.owner_id == owner, DocumentRow.sha256.in_(digests), NOT_DELETING
        )
    )
    return {row.sha256: row.id for row in rows}


async def _retryable(session: AsyncSession, documents: Sequence[UUID]) -> Sequence[UUID]:
    failed = await session.scalars(
        select(DocumentRow.id).where(
            DocumentRow.id.in_(documents),
            DocumentRow.status == DocumentStatus.FAILED.value,
            DocumentRow.error_retryable.is_(True),
        )
    )
    return failed.all()
