"""The rows of an upload: each file becomes a document, or is the one that is there already."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from chassis.transactions import driver_of
from contracts.documents import DocumentStatus, UploadedDocument
from messaging.outbox import Outbox
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway import processing, timeline
from gateway.documents import show
from gateway.intake import Received
from gateway.reprocess import try_again
from gateway.tables import DOCUMENT_COLUMNS, MAY_SUCCEED_LATER, NOT_DELETING, DocumentRow

_INSERT = f"""
    INSERT INTO documents (id, owner_id, filename, folded_name, media_type, size_bytes, sha256, status, version)
    SELECT new.id, $1, new.filename, new.folded_name, new.media_type, new.size_bytes, new.sha256, $2, 1
    FROM unnest($3::uuid[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::text[]) WITH ORDINALITY
        AS new (id, filename, folded_name, media_type, size_bytes, sha256, number)
    ORDER BY new.number
    ON CONFLICT DO NOTHING RETURNING {", ".join(DOCUMENT_COLUMNS)}
"""  # noqa: S608 - constants of ours
_TRIES = 5  # each beyond the first means that the same bytes were deleted in between


@dataclass(frozen=True)
class Kept:
    """A document as an answer names it: `duplicate` if its bytes were there already."""

    id: UUID
    duplicate: bool


@dataclass(frozen=True)
class Recorded:
    """The documents of an answer in the order of its files, those that have changed, and the rows that are new."""

    kept: list[Kept]
    changed: list[UUID]
    new: Mapping[UUID, DocumentRow]


async def record(session: AsyncSession, outbox: Outbox, owner: UUID, files: Sequence[Received]) -> Recorded:
    """Everything that a 202 promises, but for the owner's streams.

    New rows come in the order of their sha256; the loser of a race gets the winner's document. The same bytes as those
    of a document that failed, but not by its own fault, process it again.
    """
    new: dict[UUID, DocumentRow] = {}
    by_sha256 = await _rows(session, outbox, owner, files, new)
    kept = [Kept(by_sha256[file.sha256], duplicate=by_sha256[file.sha256] != file.document_id) for file in files]
    first = [one.id for one in kept if not one.duplicate]
    known = [one.id for one in kept if one.id not in new]
    again = await try_again(session, outbox, await _retryable(session, known)) if known else []
    return Recorded(kept=kept, changed=[*first, *again], new=new)


async def render(
    session: AsyncSession, kept: Sequence[Kept], new: Mapping[UUID, DocumentRow] | None = None
) -> list[UploadedDocument]:
    """The documents as they stand; what is gone meanwhile is left out. Those that are `new` are not read again."""
    rendered = []
    for one in kept:
        row = (new or {}).get(one.id) or await session.get(DocumentRow, one.id, populate_existing=True)
        if row is not None:
            rendered.append(UploadedDocument(**show(row).model_dump(), duplicate=one.duplicate))
    return rendered


async def _rows(
    session: AsyncSession, outbox: Outbox, owner: UUID, files: Sequence[Received], new: dict[UUID, DocumentRow]
) -> dict[str, UUID]:
    """Which document each sha256 is; the rows that are new are added to `new`."""
    wanted = {file.sha256: file for file in reversed(files)}  # the first of equal ones counts
    found: dict[str, UUID] = {}
    for _ in range(_TRIES):
        missing = [wanted[digest] for digest in sorted(wanted.keys() - found.keys())]
        rows = await _insert(session, owner, missing)
        new |= {row.id: row for row in rows}
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
    rows = await (await driver_of(session)).fetch(
        _INSERT,
        owner,
        DocumentStatus.UPLOADED.value,
        [file.document_id for file in files],
        [file.filename for file in files],
        [file.filename.casefold() for file in files],
        [file.media_type for file in files],
        [file.size_bytes for file in files],
        [file.sha256 for file in files],
    )
    return [DocumentRow(**row) for row in rows]


async def _existing(session: AsyncSession, owner: UUID, digests: Sequence[str]) -> dict[str, UUID]:
    rows = await session.execute(
        select(DocumentRow.sha256, DocumentRow.id).where(
            DocumentRow.owner_id == owner, DocumentRow.sha256.in_(digests), NOT_DELETING
        )
    )
    return {row.sha256: row.id for row in rows}


async def _retryable(session: AsyncSession, documents: Sequence[UUID]) -> Sequence[UUID]:
    failed = await session.scalars(select(DocumentRow.id).where(DocumentRow.id.in_(documents), MAY_SUCCEED_LATER))
    return failed.all()
