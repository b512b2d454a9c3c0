"""An index's collections in Chroma, and what of a document lies in them."""

import asyncio
from base64 import b64encode
from collections.abc import Awaitable, Callable, Sequence
from itertools import repeat
from uuid import UUID

from chassis.chroma import MOST_RECORDS, Chroma, Collection, CollectionMissing, Records, Scalar, Where
from chassis.side_by_side import side_by_side
from contracts.index import DOCUMENT, OWNER, VERSION, collection_name, shard_of

from embedder.grouping import GroupedUpserts
from embedder.indexes import IndexSpec
from embedder.repository import Piece

MARK = "docqa"
"""Stands in the metadata of every collection of ours, with the index that it belongs to."""

_AT_ONCE = 4


class ForeignCollection(Exception):
    """A collection has the name of ours and is none of ours: nothing may be written to it."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"Chroma's collection {name} {reason}")
        self.name = name
        self.reason = reason


class Shards:
    """All that is done in Chroma. An owner's vectors are in the one collection that the owner's id names."""

    def __init__(self, chroma: Chroma) -> None:
        self._chroma = chroma
        self._upserts = GroupedUpserts(chroma.upsert)

    async def create(self, index: IndexSpec) -> None:
        """Make all collections of an index; those that are there stay."""
        await self._each_shard(
            index,
            lambda name: self._chroma.create(
                name, {MARK: index.index_id, "model": index.model, "dimension": index.dimension}
            ),
        )

    async def drop(self, index: IndexSpec) -> None:
        """Drop all collections of an index."""
        await self._each_shard(index, self._chroma.drop)

    async def missing(self, known: Sequence[IndexSpec]) -> dict[str, int]:
        """How many collections each index lacks. Raises `ForeignCollection` for one that is not what it should be."""
        there = await self._chroma.collections()
        return {index.index_id: sum(not _is_there(there, index, name) for name in _names(index)) for index in known}

    async def write(self, index: IndexSpec, piece: Piece) -> None:
        """Write the vectors; what is there is overwritten. At most `MOST_RECORDS`."""
        await self._upserts.write(_name(index, piece.owner), _records([piece]))

    async def write_many(self, index: IndexSpec, pieces: Sequence[Piece]) -> None:
        """The same for pieces of one collection, in one call."""
        await self._upserts.write(_name(index, pieces[0].owner), _records(pieces))

    async def erase(self, index: IndexSpec, owner: UUID, ids: Sequence[str]) -> None:
        """Erase vectors by their ids, whether they are there or not."""
        name = _name(index, owner)
        try:
            for start in range(0, len(ids), MOST_RECORDS):
                await self._chroma.delete(name, ids[start : start + MOST_RECORDS])
        except CollectionMissing:
            return  # with it, everything in it is gone

    async def erase_document(self, index: IndexSpec, owner: UUID, document: UUID) -> int:
        """Erase every vector of a document, and find none; how many there were."""
        return await self._erase_where(index, owner, {DOCUMENT: str(document)})

    async def erase_version(self, index: IndexSpec, owner: UUID, document: UUID, version: int) -> int:
        return await self._erase_where(index, owner, {"$and": [{DOCUMENT: str(document)}, {VERSION: version}]})

    async def erase_below(self, index: IndexSpec, owner: UUID, document: UUID, version: int) -> int:
        """Erase the vectors of all versions lower than this one."""
        below: Where = {"$and": [{DOCUMENT: str(document)}, {VERSION: {"$lt": version}}]}
        return await self._erase_where(index, owner, below)

    async def _erase_where(self, index: IndexSpec, owner: UUID, where: Where) -> int:
        """`get` is exact where a query is not; it is repeated until it finds nothing."""
        name = _name(index, owner)
        erased = 0
        try:
            while ids := await self._chroma.ids(name, where):
                await self._chroma.delete(name, ids)
                erased += len(ids)
        except CollectionMissing:
            pass  # with it, everything in it is gone
        return erased

    async def _each_shard(self, index: IndexSpec, do: Callable[[str], Awaitable[None]]) -> None:
        places = asyncio.Semaphore(_AT_ONCE)

        async def one(name: str) -> None:
            async with places:
                await do(name)

        await side_by_side(one(name) for name in _names(index))


def _names(index: IndexSpec) -> list[str]:
    return [collection_name(index.index_id, shard) for shard in range(index.shards)]


def _name(index: IndexSpec, owner: UUID) -> str:
    return collection_name(index.index_id, shard_of(owner, index.shards))


def _is_there(there: dict[str, Collection], index: IndexSpec, name: str) -> bool:
    if name not in there:
        return False
    found = there[name]
    if (found.metadata or {}).get(MARK) != index.index_id:
        raise ForeignCollection(name, "was not made by docqa")
    if found.space != "cosine":
        raise ForeignCollection(name, f"measures {found.space}, not cosine")
    if found.dimension not in (None, index.dimension):
        raise ForeignCollection(name, f"has {found.dimension} numbers a vector, the index {index.dimension}")
    return True


def _records(pieces: Sequence[Piece]) -> Records:
    return Records(
        ids=[one for piece in pieces for one in piece.ids],
        vectors=[b64encode(one.vector).decode() for piece in pieces for one in piece.embedded],
        metadata=[metadata for piece in pieces for metadata in repeat(_metadata(piece), len(piece.embedded))],
    )


def _metadata(piece: Piece) -> dict[str, Scalar]:
    return {OWNER: str(piece.owner), DOCUMENT: str(piece.document), VERSION: piece.version}
