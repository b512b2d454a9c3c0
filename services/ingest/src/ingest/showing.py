"""Showing the chunks of a document to its owner."""

from collections.abc import Sequence
from hashlib import sha256
from uuid import UUID

from chassis.database import Sessions
from chassis.failures import Transient
from chassis.objects import ObjectMissing, ObjectStore
from contracts.chunks_file import Chunk, parse_chunks
from contracts.documents import ChunkPage, DocumentChunk
from contracts.index import chunk_id
from contracts.objects import chunks_key
from messaging import fences
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from ingest import cursors, repository, tables
from ingest.cursors import Place
from ingest.errors import CursorStale, DocumentNotFound, DocumentNotReady

_LOOKS = 3
"""A version may be dropped between the look at it, at its rows and at its file; the next look finds the newer one."""


class ShowChunks:
    """Reads the positions from our rows and the text from the chunks file, by range."""

    def __init__(self, sessions: Sessions, store: ObjectStore) -> None:
        self._sessions = sessions
        self._store = store

    async def __call__(
        self, document: UUID, *, owner: UUID, told_live: int, after: Place | None, limit: int
    ) -> ChunkPage:
        """A page of the chunks of the version that answers: the higher of `told_live` and what we have heard.

        Raises `DocumentNotFound`, `DocumentNotReady`, or `CursorStale` if `after` belongs to an older version.
        """
        for _ in range(_LOOKS):
            async with self._sessions() as session:
                split = await _version_to_show(session, document, owner=owner, told_live=told_live, after=after)
                first = after.ordinal if after else 0
                rows = await repository.places(session, split, first=first, count=limit)
            if len(rows) < min(limit, split.chunk_count - first):
                continue
            try:
                return _page(split, rows, await self._texts(split, rows))
            except ObjectMissing:
                continue
        raise Transient("storage.missing", "The text of the document is not there.")

    async def _texts(self, split: tables.SplitVersion, rows: Sequence[tables.DocumentChunk]) -> list[Chunk]:
        if not rows:
            return []
        key = chunks_key(split.owner_id, split.document_id, split.version, split.attempt)
        start, end = rows[0].byte_start, rows[-1].byte_end
        lines = await self._store.read(key, start, end - start)
        try:
            chunks = parse_chunks(lines)
        except ValidationError:
            chunks = []
        if [sha256(chunk.text.encode()).digest() for chunk in chunks] != [row.sha256 for row in rows]:
            raise Transient("storage.corrupt", "The text of the document is not as it was written.")
        return chunks


async def _version_to_show(
    session: AsyncSession, document: UUID, *, owner: UUID, told_live: int, after: Place | None
) -> tables.SplitVersion:
    fence = await fences.read(session, document)
    if fence is None or fence.is_deleted or not await repository.owns(session, document, owner):
        raise DocumentNotFound(document)
    live = max(told_live, fence.live)
    if live == 0:
        raise DocumentNotReady(document)
    if after is not None and after.version < live:
        raise CursorStale(document, after.version)
    # A cursor of a newer version was given out by one who knew already that it answers.
    split = await repository.version(session, document, after.version if after else live)
    if split is not None:
        return split
    raise CursorStale(document, after.version) if after else DocumentNotReady(document)


def _page(split: tables.SplitVersion, rows: Sequence[tables.DocumentChunk], chunks: Sequence[Chunk]) -> ChunkPage:
    items = [
        DocumentChunk(
            id=chunk_id(row.document_id, row.version, row.ordinal),
            ordinal=row.ordinal,
            page=row.page,
            start=row.text_start,
            end=row.text_end,
            text=chunk.text,
        )
        for row, chunk in zip(rows, chunks, strict=True)
    ]
    following = rows[-1].ordinal + 1 if rows else split.chunk_count
    more = following < split.chunk_count
    return ChunkPage(items=items, next_cursor=cursors.write(Place(split.version, following)) if more else None)
