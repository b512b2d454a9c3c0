"""What the embedder holds of a document: its runs, its embeddings, and its vectors in every index there is."""

from collections.abc import Collection, Sequence
from uuid import UUID

from chassis.database import Sessions
from contracts.index import shard_of
from messaging.fences import Fence
from sqlalchemy.ext.asyncio import AsyncSession
from stages.holdings import Holdings

from embedder import indexes, lingering, repository
from embedder.indexes import IndexSpec
from embedder.repository import Erased
from embedder.shards import Shards
from embedder.workers import Rebuild


class EmbeddedDocuments(Holdings):
    def __init__(self, sessions: Sessions, shards: Shards) -> None:
        self._sessions = sessions
        self._shards = shards

    async def owner(self, session: AsyncSession, document: UUID) -> UUID | None:
        return await repository.owner(session, document)

    async def is_written_for_others(self, session: AsyncSession, owner: UUID) -> bool:
        """A rebuild that was begun for one document brings along what lies in the same collection.

        It may not know yet that its index answers by now, or was called off.
        """
        known = await indexes.existing(session)
        others = await repository.owners_at_work(session, Rebuild.kind) if len(known) > 1 else []
        return any(shard_of(one, index.shards) == shard_of(owner, index.shards) for index in known for one in others)

    async def erase_outside(self, owner: UUID, document: UUID) -> int:
        return sum([await self._shards.erase_document(index, owner, document) for index in await self._indexes()])

    async def erase(self, session: AsyncSession, document: UUID, *, outside: int) -> int:
        rows = await self._erase(session, document)
        embeddings = sum(rows.embeddings.values())
        return embeddings + rows.runs + max(outside, embeddings)

    async def count(self, session: AsyncSession, document: UUID) -> int:
        return await repository.count(session, document)

    async def erase_late_outside(self, fence: Fence, owner: UUID, document: UUID) -> None:
        for index in await self._indexes():
            await self._shards.erase_below(index, owner, document, fence.live)
            for failed in fence.failed:
                await self._shards.erase_version(index, owner, document, failed)

    async def erase_late(self, session: AsyncSession, fence: Fence, document: UUID) -> None:
        versions = [run.version for run in await repository.runs(session, document)]
        await self._erase(session, document, [version for version in versions if fence.is_too_late(version)])

    async def _erase(self, session: AsyncSession, document: UUID, versions: Collection[int] | None = None) -> Erased:
        rows = await repository.erase(session, document, versions)
        if rows.owner is not None:
            await lingering.note(session, rows.owner, rows.embeddings)
        return rows

    async def _indexes(self) -> Sequence[IndexSpec]:
        async with self._sessions() as session:
            return await indexes.existing(session)
