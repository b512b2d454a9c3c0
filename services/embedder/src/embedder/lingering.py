"""Vectors that were erased and linger: Chroma's graphs keep their numbers, and every search goes by way of them."""

from collections import Counter
from collections.abc import Mapping
from uuid import UUID

from chassis.transactions import driver_of
from contracts.index import shard_of
from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession

from embedder import indexes, repository
from embedder.indexes import ACTIVE, IndexSpec
from embedder.tables import ErasedVectors

LINGERING = 10_000
"""In one collection. Adding to it is three times as slow then as to an empty one, if nothing else is there."""

_NOTE = """
    INSERT INTO erased_vectors (index_id, shard, vectors) SELECT * FROM unnest($1::text[], $2::int[], $3::bigint[])
    ON CONFLICT (index_id, shard) DO UPDATE SET vectors = erased_vectors.vectors + excluded.vectors
"""

_MANY = "SELECT shard, vectors FROM erased_vectors WHERE index_id = $1 AND vectors >= $2"


async def note(session: AsyncSession, owner: UUID, by_index: Mapping[str, int]) -> None:
    """So many vectors of the owner's are being erased from these indexes."""
    known = {index.index_id: index for index in await indexes.existing(session)}
    there = sorted(index_id for index_id in by_index if index_id in known)
    if there:
        driver = await driver_of(session)
        shards = [shard_of(owner, known[index_id].shards) for index_id in there]
        await driver.execute(_NOTE, there, shards, [by_index[index_id] for index_id in there])


async def overgrown(session: AsyncSession) -> IndexSpec | None:
    """The index that answers, if more lingers in one of its collections than is there, and it is worth building anew.

    None while another one is there: each takes Chroma as much memory again.
    """
    known = await indexes.existing(session)
    if [index.state for index in known] != [ACTIVE]:
        return None
    (active,) = known
    driver = await driver_of(session)
    many = await driver.fetch(_MANY, active.index_id, LINGERING)
    if not many:
        return None
    there = Counter[int]()
    for place in await repository.places(session):
        there[shard_of(place.owner, active.shards)] += place.chunks
    return active if any(vectors > there[shard] for shard, vectors in many) else None


async def forget(session: AsyncSession, index_id: str) -> None:
    """An index has been dropped, and with it whatever lingered there."""
    await session.execute(delete(ErasedVectors).where(ErasedVectors.index_id == index_id))
