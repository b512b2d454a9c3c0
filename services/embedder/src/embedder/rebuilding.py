"""Bringing a document into an index that is being built, and with it what lies in the same collection."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from uuid import UUID

from chassis.chroma import MOST_RECORDS
from chassis.database import Sessions
from chassis.side_by_side import side_by_side
from contracts.chunks_file import BATCH
from contracts.index import shard_of
from messaging import fences, jobs
from messaging.jobs import Job

from embedder import indexes, repository
from embedder.embedding import EmbedBatch
from embedder.indexes import ACTIVE, BUILDING, IndexSpec
from embedder.orders import RebuildOrder
from embedder.repository import Embedded, Piece, Place, Run
from embedder.shards import Shards

BYTES_AT_ONCE = 4 * 1024 * 1024
"""Of vectors, in memory and in one transaction: up to a thousand of the local model's."""
GROUPS_IN_HAND = 2


class RebuildDocument:
    """Copies stored vectors where model and dimension are the same, and embeds the chunks again where they are not.

    What is done is kept piece by piece: a rebuild that is interrupted goes on where it was.
    """

    def __init__(self, sessions: Sessions, *, embed: EmbedBatch, shards: Shards) -> None:
        self._sessions = sessions
        self._embed = embed
        self._shards = shards
        self._copying: defaultdict[tuple[str, int], asyncio.Lock] = defaultdict(asyncio.Lock)

    async def __call__(self, job: Job) -> None:
        order = RebuildOrder.of(job.payload)
        async with self._sessions() as session:
            known = await indexes.existing(session)
        target = next((index for index in known if index.index_id == order.index_id), None)
        source = _source([index for index in known if index.index_id != order.index_id])
        if target is None or target.state != BUILDING or source is None:
            return
        if source.same_vectors(target):
            await self._copy(job, source=source, target=target)
        else:
            await self._embed_again(UUID(job.subject), source=source, target=target)

    async def _copy(self, job: Job, *, source: IndexSpec, target: IndexSpec) -> None:
        """Copy the document, and all others of its collection: Chroma takes a thousand vectors as fast as ten.

        Their own jobs end with it. It begins with the document, so that embedders that work on the same collection at
        the same time do so at different ends.
        """
        document, shard = UUID(job.subject), shard_of(UUID(job.owner), target.shards)
        async with self._copying[target.index_id, shard]:
            if not await self._lacking([document], source=source, target=target, limit=1):
                return
            async with self._sessions() as session:
                everywhere = await repository.places(session)
            here = [place for place in everywhere if shard_of(place.owner, target.shards) == shard]
            at_once = max(BATCH, min(MOST_RECORDS, BYTES_AT_ONCE // (4 * target.dimension)))
            groups = _groups(_beginning_with(document, here), at_once)

            async def copy_groups() -> None:
                for group in groups:
                    if await self._copy_group(group, source=source, target=target, at_once=at_once):
                        await self._end_jobs(job, group)

            # While Chroma takes one, the next is read and the one before it kept.
            await side_by_side(copy_groups() for _ in range(GROUPS_IN_HAND))

    async def _copy_group(self, group: Sequence[Place], *, source: IndexSpec, target: IndexSpec, at_once: int) -> bool:
        """Whether all of it is there now; otherwise the index is not wanted any more."""
        documents = [place.document for place in group]
        owners = {place.document: place.owner for place in group}
        while True:
            lacking = await self._lacking(documents, source=source, target=target, limit=at_once)
            pieces = [
                Piece(owners[document], document, version, embedded)
                for (document, version), embedded in lacking.items()
            ]
            if pieces and not await self._keep(pieces, source=source, target=target):
                return False
            if sum(len(piece.embedded) for piece in pieces) < at_once:
                return True

    async def _end_jobs(self, job: Job, group: Sequence[Place]) -> None:
        """A thousand jobs that find nothing to do take seconds to be taken one by one."""
        async with self._sessions.begin() as session:
            documents = [place.document for place in group]
            await jobs.end_waiting(session, documents, kind=job.kind, version=job.version)

    async def _lacking(
        self, documents: Sequence[UUID], *, source: IndexSpec, target: IndexSpec, limit: int
    ) -> dict[tuple[UUID, int], list[Embedded]]:
        async with self._sessions() as session:
            return await repository.lacking(
                session, documents, source=source.index_id, target=target.index_id, limit=limit
            )

    async def _keep(self, pieces: Sequence[Piece], *, source: IndexSpec, target: IndexSpec) -> bool:
        """Write to Chroma, then keep what is not too late; the rest is erased again, and does not lack any more.

        Whether the index is still wanted.
        """
        await self._shards.write_many(target, pieces)
        async with self._sessions.begin() as session:
            shared = await fences.share(session, [piece.document for piece in pieces])
            late = [piece for piece in pieces if shared[str(piece.document)].is_too_late(piece.version)]
            in_time = [piece for piece in pieces if piece not in late]
            await indexes.hold(session)
            wanted = target.index_id in {index.index_id for index in await indexes.written(session)}
            if wanted and source.same_vectors(target):
                await repository.copy(session, in_time, source=source.index_id, target=target.index_id)
            elif wanted:
                for piece in in_time:
                    await repository.keep(session, target.index_id, piece.document, piece.version, piece.embedded)
        for piece in late:
            await self._shards.erase(target, piece.owner, piece.ids)
        return wanted

    async def _embed_again(self, document: UUID, *, source: IndexSpec, target: IndexSpec) -> None:
        """Embed what the source has of the document, batch by batch."""
        async with self._sessions() as session:
            runs = {run.version: run for run in await repository.runs(session, document)}
        while lacking := await self._lacking([document], source=source, target=target, limit=BATCH):
            version, embedded = next((version, embedded) for (_, version), embedded in lacking.items())
            if version not in runs:
                return
            piece = await self._batch_again(runs[version], embedded, target)
            if not await self._keep([piece], source=source, target=target):
                return

    async def _batch_again(self, run: Run, lacking: Sequence[Embedded], target: IndexSpec) -> Piece:
        """The batch of the first chunk that is lacking, as far as it is, with the target's model."""
        number = lacking[0].ordinal // BATCH
        wanted = {one.ordinal for one in lacking}
        again = await self._embed.embed_again(run, number, target)
        return Piece(run.owner_id, run.document_id, run.version, [one for one in again if one.ordinal in wanted])


def _source(others: Sequence[IndexSpec]) -> IndexSpec | None:
    """The index that answers; without one the newest: what it has is what there is."""
    return min(others, key=lambda index: (index.state != ACTIVE, -index.generation), default=None)


def _beginning_with(document: UUID, places: Sequence[Place]) -> list[Place]:
    """The places in their order, from the document on and round again."""
    return sorted(places, key=lambda place: (place.document < document, place.document))


def _groups(places: Iterable[Place], at_once: int) -> Iterator[list[Place]]:
    """Documents that have about so many chunks together; a larger one is a group by itself."""
    group: list[Place] = []
    size = 0
    for place in places:
        if group and size + place.chunks > at_once:
            yield group
            group, size = [], 0
        group.append(place)
        size += place.chunks
    if group:
        yield group
