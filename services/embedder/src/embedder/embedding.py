"""Embedding one batch: read, embed, write to every index that must have it; then say how far the version is."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from chassis.database import Sessions, reads_of
from chassis.failures import Transient
from contracts.chunks_file import Chunk
from contracts.facts import DocumentEmbedded, DocumentEmbeddingProgressed
from messaging.fences import Fence
from messaging.jobs import Job
from messaging.outbox import Outbox
from messaging.workers import Finish
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncSession

from embedder import indexes, repository
from embedder.chunk_files import ChunkFiles
from embedder.indexes import IndexSpec
from embedder.models_in_use import ModelsInUse
from embedder.repository import Advance, Embedded, Piece
from embedder.shards import Shards
from embedder.side_by_side import side_by_side
from embedder.tables import EmbeddingRun

INDEX_CHANGED = "index.changed"
NO_INDEX = "index.unavailable"


@dataclass(frozen=True)
class Target:
    """What is to be embedded, and every index that must have it."""

    run: EmbeddingRun
    indexes: Sequence[IndexSpec]


class EmbedBatch:
    """Embeds a batch with each model that an index needs, once."""

    def __init__(
        self, sessions: Sessions, *, files: ChunkFiles, models: ModelsInUse, shards: Shards, outbox: Outbox
    ) -> None:
        self._reads = reads_of(sessions)
        self._files = files
        self._models = models
        self._shards = shards
        self._outbox = outbox

    async def __call__(self, job: Job) -> Finish:
        """Writes the vectors to Chroma; the final transaction keeps them and says what there is to say."""
        target = await self._target(UUID(job.subject), job.version)
        chunks = await self._files.batch(target.run, job.part)
        by_index = await self._embed(chunks, target.indexes)
        await self._write(target, by_index)

        async def finish(session: AsyncSession, fence: Fence) -> None:
            written = await self._still_all(session, by_index)
            for index in written:
                await repository.keep(session, index.index_id, UUID(job.subject), job.version, by_index[index.index_id])
            now = await repository.advance(session, UUID(job.subject), job.version, chunks=len(chunks))
            if now is None:
                raise Transient("processing.superseded", "The version is not to be embedded any more.")
            await self._tell(session, fence, target.run, now, written)

        return finish

    async def embed_again(self, run: EmbeddingRun, batch: int, index: IndexSpec) -> list[Embedded]:
        """The vectors of a batch with the model of one index."""
        chunks = await self._files.batch(run, batch)
        return (await self._embed(chunks, [index]))[index.index_id]

    async def _target(self, document: UUID, version: int) -> Target:
        async with self._reads() as session:
            run = await repository.run(session, document, version)
            wanted = await indexes.written(session)
        if run is None:
            raise Transient("processing.superseded", "The version is not to be embedded any more.")
        if not wanted:
            raise Transient(NO_INDEX, "There is no index yet.")
        return Target(run, wanted)

    async def _embed(self, chunks: Sequence[Chunk], wanted: Sequence[IndexSpec]) -> dict[str, list[Embedded]]:
        texts = [chunk.text for chunk in chunks]
        vectors: dict[tuple[str, int], list[Embedded]] = {}
        for index in wanted:
            if (index.model, index.dimension) not in vectors:
                model = await self._models.of(index)
                vectors[index.model, index.dimension] = _embedded(chunks, await model.embed_texts(texts))
        return {index.index_id: vectors[index.model, index.dimension] for index in wanted}

    async def _write(self, target: Target, by_index: dict[str, list[Embedded]]) -> None:
        run = target.run
        await side_by_side(
            self._shards.write(index, Piece(run.owner_id, run.document_id, run.version, by_index[index.index_id]))
            for index in target.indexes
        )

    async def _still_all(self, session: AsyncSession, by_index: dict[str, list[Embedded]]) -> list[IndexSpec]:
        """The indexes that must have the batch, if it was written to all of them."""
        wanted = await indexes.hold(session)
        if any(index.index_id not in by_index for index in wanted):
            raise Transient(INDEX_CHANGED, "Another index is being built since: the batch is embedded again.")
        return wanted

    async def _tell(
        self, session: AsyncSession, fence: Fence, run: EmbeddingRun, now: Advance, written: Sequence[IndexSpec]
    ) -> None:
        """The one that reads `done = total` says `embedded`; the others tell, at most once a second, how far it is."""
        if now.done == now.total:
            said = await embedded_fact(session, run, written)
            self._outbox.add(session, said)
            fence.conclude(said)
        elif now.tell:
            self._outbox.add(
                session,
                DocumentEmbeddingProgressed(
                    document_id=run.document_id,
                    owner_id=run.owner_id,
                    version=run.version,
                    round=run.round,
                    attempt=run.attempt,
                    embedded_count=now.embedded_count,
                    chunk_count=run.chunk_count,
                ),
            )


async def embedded_fact(session: AsyncSession, run: EmbeddingRun, written: Sequence[IndexSpec]) -> DocumentEmbedded:
    """That all of its vectors are stored, and in which of the indexes that new vectors are `written` to."""
    complete = await repository.complete_in(session, run)
    return DocumentEmbedded(
        document_id=run.document_id,
        owner_id=run.owner_id,
        version=run.version,
        round=run.round,
        attempt=run.attempt,
        chunk_count=run.chunk_count,
        pages=run.pages,
        chunks_sha256=run.chunks_sha256,
        indexes=tuple(index.index_id for index in written if index.index_id in complete or not run.chunk_count),
    )


def _embedded(chunks: Sequence[Chunk], vectors: NDArray[np.float32]) -> list[Embedded]:
    rows = vectors.astype("<f4", copy=False)
    return [Embedded(chunk.ordinal, chunk.page, row.tobytes()) for chunk, row in zip(chunks, rows, strict=True)]
