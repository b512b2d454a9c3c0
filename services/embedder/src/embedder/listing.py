"""The indexes as their operator sees them."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chassis.database import Sessions
from contracts.internal import IndexBuild, IndexBuilds
from sqlalchemy.ext.asyncio import AsyncSession

from embedder import indexes, repository
from embedder.indexes import ACTIVE, BUILDING, CREATING, IndexSpec
from embedder.orders import REBUILD

_PAUSE = 20
"""Times as long as counting took, before it is done again. For 100,000 chunks it takes a tenth of a second, and whoever
watches a rebuild must not slow it down."""


@dataclass(frozen=True)
class _Counts:
    """Embeddings by index, and by generation the documents that an index's model refuses."""

    embeddings: Mapping[str, int]
    refused: Mapping[int, int]


class ListIndexes:
    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._counted: tuple[Sequence[IndexSpec], _Counts] = [], _Counts({}, {})
        self._count_again_at = 0.0

    async def __call__(self) -> IndexBuilds:
        """The newest first. What is being built is measured by the index that answers.

        Progress within a state may be some seconds old.
        """
        async with self._sessions() as session:
            known = await indexes.existing(session)
            counts = await self._counts(session, known)
        there = max((counts.embeddings.get(index.index_id, 0) for index in known if index.state == ACTIVE), default=0)
        return IndexBuilds(
            items=[
                IndexBuild(
                    index_id=index.index_id,
                    generation=index.generation,
                    model=index.model,
                    dimension=index.dimension,
                    # That its collections are still being made is nobody's business.
                    state=BUILDING if index.state == CREATING else index.state,
                    done=(done := counts.embeddings.get(index.index_id, 0)),
                    total=max(done, there) if index.state in (CREATING, BUILDING) else done,
                    refused=counts.refused.get(index.generation, 0),
                )
                for index in known
            ]
        )

    async def _counts(self, session: AsyncSession, known: Sequence[IndexSpec]) -> _Counts:
        """Counted anew when an index has another state, and otherwise now and then."""
        counted_of, counts = self._counted
        began = time.monotonic()
        if counted_of == known and began < self._count_again_at:
            return counts
        counts = _Counts(await repository.counts(session), await repository.refused(session, REBUILD))
        ended = time.monotonic()
        self._counted = known, counts
        self._count_again_at = ended + _PAUSE * (ended - began)
        return counts
