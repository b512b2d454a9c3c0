"""Embedding one batch: read, embed, write to every index that must have it; then say how far the version is."""

from collections.abc import Sequence, Set
from uuid import UUID

import numpy as np
import structlog
from chassis.failures import Failure, Transient
from chassis.side_by_side import side_by_side
from chassis.together import Together
from chassis.transactions import Transactions
from contracts.chunks_file import Chunk
from contracts.facts import DocumentEmbedded, DocumentEmbeddingProgressed
from messaging import jobs
from messaging.fences import Fence
from messaging.jobs import Job
from messaging.outbox import Outbox
from messaging.workers import Finish
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncSession

from embedder import indexes, repository
from embedder.chunk_files import ChunkFiles
from embedder.indexes import ACTIVE, BUILDING, IndexSpec
from embedder.models_in_use import ModelsInUse
from embedder.orders import rebuild_job
from embedder.repository import Advance, Embedded, Piece, Run, Target
from embedder.shards import Shards

INDEX_CHANGED = "index.changed"
NO_INDEX = "index.unavailable"

log = structlog.stdlib.get_logger(__name__)


class EmbedBatch:
    """Embeds a batch with each model that an index needs, once."""

    def __init__(
        self, transactions: Transactions, *, files: ChunkFiles, models: ModelsInUse, shards: Shards, outbox: Outbox
    ) -> None:
        self._transactions = transactions
        self._files = files
        self._models = models
        self._shards = shards
        self._outbox = outbox
        self._targets: Together[tuple[UUID, int], Target] = Together()

    async def __call__(self, job: Job) -> Finish:
        """Writes the vectors to Chroma; the final transaction keeps them and says what there is to say."""
        document, version = UUID(job.subject), job.version
        target = await self._targets.get((document, version), lambda: self._target(document, version))
        chunks = await self._files.batch(target.run, job.part)
        by_index = await self._embed(chunks, target.indexes)
        await self._write(target, by_index)

        async def finish(session: AsyncSession, fence: Fence) -> None:
            await indexes.hold(session)
            now = await repository.advance(session, document, version, by_index, chunks=len(chunks))
            if now is None:
                raise _superseded()
            if lacking := set(now.wanted) - by_index.keys():
                failed = {index.index_id for index in target.indexes} - by_index.keys()
                await _refuse_change(session, lacking, failed=failed)
            if now.done == now.total and (behind := set(now.wanted) - set(now.complete)):
                await _leave_to_rebuild(session, target.run, behind)
            self._tell(session, fence, target.run, now)

        return finish

    async def embed_again(self, run: Run, batch: int, index: IndexSpec) -> list[Embedded]:
        """The vectors of a batch with the model of one index."""
        chunks = await self._files.batch(run, batch)
        return (await self._embed(chunks, [index]))[index.index_id]

    async def _target(self, document: UUID, version: int) -> Target:
        async with self._transactions.driver() as driver:
            target = await repository.target(driver, document, version)
        if target is None:
            raise _superseded()
        if not target.indexes:
            raise Transient(NO_INDEX, "There is no index yet.")
        return target

    async def _embed(self, chunks: Sequence[Chunk], wanted: Sequence[IndexSpec]) -> dict[str, list[Embedded]]:
        """By index, without one that nobody needs yet and whose model refuses a text or cannot be asked."""
        texts = [chunk.text for chunk in chunks]
        vectors: dict[tuple[str, int], list[Embedded]] = {}
        for index in wanted:
            if (index.model, index.dimension) in vectors:
                continue
            try:
                model = await self._models.of(index)
                vectors[index.model, index.dimension] = _embedded(chunks, await model.embed_texts(texts))
            except Failure as trouble:
                if not _can_lack(index, wanted):
                    raise
                log.warning("an index that is being built lacks a batch", index_id=index.index_id, code=trouble.code)
        there = [index for index in wanted if (index.model, index.dimension) in vectors]
        return {index.index_id: vectors[index.model, index.dimension] for index in there}

    async def _write(self, target: Target, by_index: dict[str, list[Embedded]]) -> None:
        run = target.run
        await side_by_side(
            self._shards.write(index, Piece(run.owner_id, run.document_id, run.version, by_index[index.index_id]))
            for index in target.indexes
            if index.index_id in by_index
        )

    def _tell(self, session: AsyncSession, fence: Fence, run: Run, now: Advance) -> None:
        """The one that reads `done = total` says `embedded`; the others tell, at most once a second, how far it is."""
        if now.done == now.total:
            said = embedded_fact(run, now.complete)
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


def embedded_fact(run: Run, complete: Sequence[str]) -> DocumentEmbedded:
    """That all of its vectors are stored, and in which indexes."""
    return DocumentEmbedded(
        document_id=run.document_id,
        owner_id=run.owner_id,
        version=run.version,
        round=run.round,
        attempt=run.attempt,
        chunk_count=run.chunk_count,
        pages=run.pages,
        chunks_sha256=run.chunks_sha256,
        indexes=tuple(complete),
    )


def _can_lack(index: IndexSpec, wanted: Sequence[IndexSpec]) -> bool:
    """Whether another model's index answers: then this one is only being built."""
    answering = [one for one in wanted if one.state == ACTIVE]
    return bool(answering) and not any(one.same_vectors(index) for one in answering)


async def _refuse_change(session: AsyncSession, lacking: Set[str], *, failed: Set[str]) -> None:
    """Raises unless all that lack the batch are still being built, and their models were asked."""
    if not lacking <= failed & (await _building(session)).keys():
        raise Transient(INDEX_CHANGED, "Another index is being built since: the batch is embedded again.")


async def _leave_to_rebuild(session: AsyncSession, run: Run, behind: Set[str]) -> None:
    """A job goes on trying to bring in what models of indexes that are being built did not embed.

    When the version is whole, and not before: a job that is done is not added again for another batch.
    """
    building = await _building(session)
    behind = behind & building.keys()
    missed = [rebuild_job(building[one], run.document_id, run.owner_id, part=run.version) for one in sorted(behind)]
    await jobs.add_many(session, missed)


async def _building(session: AsyncSession) -> dict[str, IndexSpec]:
    return {one.index_id: one for one in await indexes.existing(session) if one.state == BUILDING}


def _superseded() -> Transient:
    return Transient("processing.superseded", "The version is not to be embedded any more.")


def _embedded(chunks: Sequence[Chunk], vectors: NDArray[np.float32]) -> list[Embedded]:
    rows = vectors.astype("<f4", copy=False)
    return [Embedded(chunk.ordinal, chunk.page, row.tobytes()) for chunk, row in zip(chunks, rows, strict=True)]
