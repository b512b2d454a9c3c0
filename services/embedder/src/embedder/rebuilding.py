"""Bringing one document into an index that is being built."""

from collections.abc import Sequence
from itertools import groupby
from uuid import UUID

from chassis.database import Sessions
from contracts.chunks_file import BATCH
from messaging import fences
from messaging.jobs import Job

from embedder import indexes, repository
from embedder.embedding import EmbedBatch
from embedder.indexes import ACTIVE, BUILDING, IndexSpec
from embedder.orders import RebuildOrder
from embedder.repository import Embedded
from embedder.shards import Piece, Shards
from embedder.tables import EmbeddingRun

ROWS_AT_ONCE = 512
"""Vectors in memory and in one transaction: 0.8 MB of the local model's."""


class RebuildDocument:
    """Copies stored vectors where model and dimension are the same, and embeds the chunks again where they are not.

    What is done is kept piece by piece: a rebuild that is interrupted goes on where it was.
    """

    def __init__(self, sessions: Sessions, *, embed: EmbedBatch, shards: Shards) -> None:
        self._sessions = sessions
        self._embed = embed
        self._shards = shards

    async def __call__(self, job: Job) -> None:
        order = RebuildOrder.of(job.payload)
        async with self._sessions() as session:
            known = {index.index_id: index for index in await indexes.existing(session)}
            runs = await repository.runs(session, UUID(job.subject))
        target = known.get(order.index_id)
        # Without one that answers, the newest of the others: what it has is what there is.
        source = min(
            (index for index in known.values() if index.index_id != order.index_id),
            key=lambda index: (index.state != ACTIVE, -index.generation),
            default=None,
        )
        if target is None or target.state != BUILDING or source is None:
            return
        for run in runs:
            await self._bring(run, source=source, target=target)

    async def _bring(self, run: EmbeddingRun, *, source: IndexSpec, target: IndexSpec) -> None:
        again = self._copied if source.same_vectors(target) else self._embedded_again
        while not await self._is_too_late(run):
            async with self._sessions() as session:
                lacking = await repository.lacking(
                    session, run, source=source.index_id, target=target.index_id, limit=ROWS_AT_ONCE
                )
            if not lacking or not await self._keep(run, target, await again(run, lacking, target)):
                return

    async def _copied(self, run: EmbeddingRun, lacking: Sequence[Embedded], target: IndexSpec) -> Sequence[Embedded]:
        del run, target
        return lacking

    async def _embedded_again(
        self, run: EmbeddingRun, lacking: Sequence[Embedded], target: IndexSpec
    ) -> Sequence[Embedded]:
        """The chunks of the batch of the first one that is lacking, as far as they are."""
        number, of_batch = next(groupby(lacking, lambda one: one.ordinal // BATCH))
        wanted = {one.ordinal for one in of_batch}
        return [one for one in await self._embed.embed_again(run, number, target) if one.ordinal in wanted]

    async def _keep(self, run: EmbeddingRun, target: IndexSpec, embedded: Sequence[Embedded]) -> bool:
        """Write to Chroma, then keep; False, and erased again, if that came too late."""
        piece = Piece(run.owner_id, run.document_id, run.version, embedded)
        await self._shards.write(target, piece)
        async with self._sessions.begin() as session:
            fence = await fences.lock(session, run.document_id)
            late = fence.is_too_late(run.version)
            wanted = {index.index_id for index in await indexes.hold(session)}
            if not late and target.index_id in wanted:
                await repository.keep(session, target.index_id, run.document_id, run.version, embedded)
        if late:
            await self._shards.erase(target, run.owner_id, piece.ids)
        return not late and target.index_id in wanted

    async def _is_too_late(self, run: EmbeddingRun) -> bool:
        async with self._sessions() as session:
            fence = await fences.read(session, run.document_id)
        return fence is None or fence.is_too_late(run.version)
