"""Ingest's tables, in the words of its use cases."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from chassis.transactions import driver_of
from sqlalchemy import ColumnElement, delete, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from ingest.attempts import Attempt
from ingest.chunk_rows import unpack
from ingest.extraction import Extracted
from ingest.tables import DocumentChunk, SplitVersion

_KEEP = """
INSERT INTO split_versions (document_id, version, owner_id, attempt, pages, chunk_count, chunks_sha256)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
_COLUMNS = [column.name for column in DocumentChunk.__table__.columns]
_BREATH = 1000
"""Rows between two chances for everybody else on the event loop: about 10 ms."""


@dataclass(frozen=True)
class Erased:
    """What was erased; every version erased had one chunks file."""

    versions: int
    chunks: int


async def keep(session: AsyncSession, attempt: Attempt, found: Extracted) -> None:
    """Keep a version that this attempt has split, and where its chunks lie."""
    driver = await driver_of(session)
    await driver.execute(
        _KEEP,
        attempt.document,
        attempt.version,
        attempt.owner,
        attempt.number,
        found.pages,
        found.chunk_count,
        found.chunks_sha256,
    )
    await driver.copy_records_to_table(
        DocumentChunk.__tablename__, columns=_COLUMNS, records=_records(attempt, found.packed_rows)
    )


async def owns(session: AsyncSession, document: UUID, owner: UUID) -> bool:
    """Whether any version of the document is here, and is this owner's."""
    where = (SplitVersion.document_id == document) & (SplitVersion.owner_id == owner)
    return bool(await session.scalar(select(select(SplitVersion).where(where).exists())))


async def version(session: AsyncSession, document: UUID, number: int) -> SplitVersion | None:
    return await session.get(SplitVersion, (document, number), populate_existing=True)


async def versions(session: AsyncSession, document: UUID) -> Sequence[int]:
    """The versions of the document that are here."""
    return (await session.scalars(select(SplitVersion.version).where(SplitVersion.document_id == document))).all()


async def owner(session: AsyncSession, document: UUID) -> UUID | None:
    """Whose document it is, if a version of it is here."""
    found: UUID | None = await session.scalar(
        select(SplitVersion.owner_id).where(SplitVersion.document_id == document).limit(1)
    )
    return found


async def places(session: AsyncSession, split: SplitVersion, *, first: int, count: int) -> Sequence[DocumentChunk]:
    """Where up to `count` chunks lie, from the ordinal `first` on, in their order."""
    rows = await session.scalars(
        select(DocumentChunk)
        .where(
            DocumentChunk.document_id == split.document_id,
            DocumentChunk.version == split.version,
            DocumentChunk.ordinal >= first,
        )
        .order_by(DocumentChunk.ordinal)
        .limit(count)
    )
    return rows.all()


async def erase(session: AsyncSession, document: UUID, numbers: Collection[int] | None = None) -> Erased:
    """Erase those versions of the document, or all."""
    chunks = await session.scalars(
        delete(DocumentChunk).where(*_of(DocumentChunk, document, numbers)).returning(DocumentChunk.ordinal)
    )
    erased = len(chunks.all())
    gone = await session.scalars(
        delete(SplitVersion).where(*_of(SplitVersion, document, numbers)).returning(SplitVersion.version)
    )
    return Erased(versions=len(gone.all()), chunks=erased)


async def count(session: AsyncSession, document: UUID) -> int:
    """Rows about the document that are left, of both tables."""
    left = 0
    for table in (DocumentChunk, SplitVersion):
        rows = select(func.count()).select_from(table).where(table.document_id == document)
        left += await session.scalar(rows) or 0
    return left


async def kept(session: AsyncSession, files: Iterable[tuple[UUID, int, int]]) -> set[tuple[UUID, int, int]]:
    """Of these chunks files (document, version, attempt), those that somebody may read."""
    key = tuple_(SplitVersion.document_id, SplitVersion.version, SplitVersion.attempt)
    rows = await session.execute(
        select(SplitVersion.document_id, SplitVersion.version, SplitVersion.attempt).where(key.in_(list(files)))
    )
    return {(document, number, attempt) for document, number, attempt in rows}


def _of(
    table: type[DocumentChunk | SplitVersion], document: UUID, numbers: Collection[int] | None
) -> list[ColumnElement[bool]]:
    where: list[ColumnElement[bool]] = [table.document_id == document]
    if numbers is not None:
        where.append(table.version.in_(numbers))
    return where


async def _records(attempt: Attempt, packed_rows: bytes) -> AsyncIterator[tuple[object, ...]]:
    for ordinal, row in enumerate(unpack(packed_rows)):
        if ordinal % _BREATH == _BREATH - 1:
            await asyncio.sleep(0)
        yield (attempt.document, attempt.version, ordinal, *row)
