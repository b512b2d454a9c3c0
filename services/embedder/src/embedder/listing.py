"""The indexes as their operator sees them."""

from chassis.database import Sessions
from contracts.internal import IndexBuild, IndexBuilds

from embedder import indexes, repository
from embedder.indexes import ACTIVE, BUILDING, CREATING


class ListIndexes:
    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def __call__(self) -> IndexBuilds:
        """The newest first. What is being built is measured by the index that answers."""
        async with self._sessions() as session:
            known = await indexes.existing(session)
            counts = await repository.counts(session)
        there = max((counts.get(index.index_id, 0) for index in known if index.state == ACTIVE), default=0)
        return IndexBuilds(
            items=[
                IndexBuild(
                    index_id=index.index_id,
                    generation=index.generation,
                    model=index.model,
                    dimension=index.dimension,
                    # That its collections are still being made is nobody's business.
                    state=BUILDING if index.state == CREATING else index.state,
                    done=(done := counts.get(index.index_id, 0)),
                    total=max(done, there) if index.state in (CREATING, BUILDING) else done,
                )
                for index in known
            ]
        )
