"""The life of an index: creating → building → active → retired → dropped; the first one is active at once.

`creating`: its collections are being made, nobody writes to it. `building`: every new vector goes there, too, while
jobs copy the old ones. `active`: it answers. `retired`: it gets deletions only, and is dropped a day later.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from secrets import token_hex

from chassis.transactions import driver_of, memory_of
from contracts.facts import IndexActivated
from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from embedder.tables import VectorIndex

CREATING, BUILDING, ACTIVE, RETIRED, DROPPED = "creating", "building", "active", "retired", "dropped"

# OFFSET 0 has each chunk looked up by its key: the planner knows little of an index that was filled just now, and might
# join in a way that costs the square of its rows.
_LACKS_SOMETHING = """
    SELECT EXISTS (
        SELECT FROM document_embeddings AS there WHERE there.index_id = $1 AND NOT EXISTS (
            SELECT FROM document_embeddings AS here
            WHERE here.index_id = $2 AND here.document_id = there.document_id AND here.version = there.version
                AND here.ordinal = there.ordinal OFFSET 0))
"""

_HELD = "embedder.indexes"

KEPT_RETIRED = timedelta(days=1)
"""qa may need a moment to hear of a new index; a day leaves people time to see that it answers as the old one did."""


@dataclass(frozen=True)
class IndexSpec:
    """An index that is there, as writers need it."""

    index_id: str
    generation: int
    model: str
    dimension: int
    shards: int
    state: str

    def same_vectors(self, other: "IndexSpec") -> bool:
        """Whether the vectors of one can be copied to the other."""
        return (self.model, self.dimension) == (other.model, other.dimension)

    def activated(self) -> IndexActivated:
        return IndexActivated(
            index_id=self.index_id,
            generation=self.generation,
            model=self.model,
            dimension=self.dimension,
            shards=self.shards,
        )


async def existing(session: AsyncSession) -> list[IndexSpec]:
    """Every index that is not dropped, the newest first."""
    rows = await session.scalars(
        select(VectorIndex)
        .where(VectorIndex.state != DROPPED)
        .order_by(VectorIndex.generation.desc())
        .execution_options(populate_existing=True)
    )
    return [_spec(row) for row in rows]


async def written(session: AsyncSession) -> list[IndexSpec]:
    """The indexes that a new vector must be in."""
    return [index for index in await existing(session) if index.state in (ACTIVE, BUILDING)]


async def hold(session: AsyncSession) -> None:
    """No index begins, is activated or retires until the transaction ends.

    Which ones there are is asked in another statement after this one: it sees what was decided while this one waited.
    """
    if _HELD in (memory := memory_of(session)):
        return
    memory[_HELD] = True
    driver = await driver_of(session)
    await driver.execute("SELECT FROM vector_indexes ORDER BY generation FOR SHARE")


async def decide(session: AsyncSession) -> list[IndexSpec]:
    """Every index, all of them locked for a change of state: every batch that was being ended is ended."""
    await session.execute(text("SELECT FROM vector_indexes ORDER BY generation FOR UPDATE"))
    return await existing(session)


async def begin(
    session: AsyncSession, *, model: str, dimension: int, shards: int, generation: int | None = None
) -> IndexSpec | None:
    """A new index, its collections still to be made; None if another process has begun one of its generation."""
    if generation is None:
        generation = (await session.scalar(select(func.max(VectorIndex.generation))) or 0) + 1
    row = await session.scalar(
        insert(VectorIndex)
        .values(
            # Unlike any other that ever was in this Chroma, even if this database is younger than it.
            index_id=f"docqa-{generation}-{token_hex(4)}",
            generation=generation,
            model=model,
            dimension=dimension,
            shards=shards,
            state=CREATING,
        )
        .on_conflict_do_nothing()
        .returning(VectorIndex)
    )
    return _spec(row) if row is not None else None


async def become(session: AsyncSession, index: IndexSpec, state: str) -> IndexSpec:
    """Call `decide` first."""
    times = {ACTIVE: {"activated_at": func.now()}, RETIRED: {"retired_at": func.now()}}
    row = await session.scalar(
        update(VectorIndex)
        .where(VectorIndex.index_id == index.index_id)
        .values(state=state, **times.get(state, {}))
        .returning(VectorIndex)
        .execution_options(populate_existing=True)
    )
    assert row is not None, "indexes are never deleted"
    return _spec(row)


async def past_their_day(session: AsyncSession) -> Sequence[IndexSpec]:
    """Retired indexes that can be dropped."""
    rows = await session.scalars(
        select(VectorIndex).where(VectorIndex.state == RETIRED, VectorIndex.retired_at < func.now() - KEPT_RETIRED)
    )
    return [_spec(row) for row in rows]


async def lacks_something(session: AsyncSession, new: IndexSpec, old: IndexSpec) -> bool:
    """Whether there is a chunk with a vector in the old index and none in the new one."""
    driver = await driver_of(session)
    return bool(await driver.fetchval(_LACKS_SOMETHING, old.index_id, new.index_id))


def _spec(row: VectorIndex) -> IndexSpec:
    return IndexSpec(
        index_id=row.index_id,
        generation=row.generation,
        model=row.model,
        dimension=row.dimension,
        shards=row.shards,
        state=row.state,
    )
