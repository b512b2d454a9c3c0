"""What the embedder does: embedding, rebuilding, and erasing what nobody needs or may have any more."""

from datetime import timedelta
from uuid import UUID

from chassis.database import Sessions
from chassis.failures import Failure, Permanent, Transient
from contracts.chunks_file import BATCH
from contracts.facts import DocumentFailed, DocumentPurged
from contracts.index import chunk_id, shard_of
from messaging import fences, jobs
from messaging.fences import Fence
from messaging.jobs import Job
from messaging.outbox import Outbox
from messaging.workers import Finish, Work
from sqlalchemy.ext.asyncio import AsyncSession

from embedder import indexes, repository
from embedder.embedding import EmbedBatch
from embedder.erasing import LONGEST_LEASE, add_drops, looks_again
from embedder.indexes import BUILDING
from embedder.keeping import IndexKeeper
from embedder.orders import PurgeOrder
from embedder.rebuilding import RebuildDocument
from embedder.repository import Erased
from embedder.shards import Shards

WRITING = ("embed", "rebuild")
"""Kinds that write vectors."""


class Embed(Work):
    """Embeds one batch of a version."""

    kind = "embed"
    lease = LONGEST_LEASE

    def __init__(
        self, embed: EmbedBatch, *, sessions: Sessions, shards: Shards, outbox: Outbox, concurrency: int, tries: int
    ) -> None:
        self._embed = embed
        self._sessions = sessions
        self._shards = shards
        self._outbox = outbox
        self.concurrency = concurrency
        self.max_tries = tries

    async def run(self, job: Job) -> Finish:
        return await self._embed(job)

    async def give_up(self, session: AsyncSession, fence: Fence, job: Job, failure: Failure) -> None:
        """One batch that cannot be embedded is a version that cannot; the other batches are dropped."""
        run = await repository.run(session, UUID(job.subject), job.version)
        said = DocumentFailed(
            document_id=UUID(job.subject),
            owner_id=UUID(job.owner),
            version=job.version,
            round=run.round if run is not None else 0,
            attempt=job.attempt,
            stage="embedder",
            code=failure.code,
            detail=failure.detail,
            retryable=not isinstance(failure, Permanent),
        )
        self._outbox.add(session, said)
        fence.fail(job.version)
        fence.conclude(said)
        await jobs.cancel(session, job.subject, version=job.version, kinds=["embed"])
        await add_drops(session, said)

    async def erase_late(self, job: Job) -> None:
        async with self._sessions() as session:
            known = await indexes.existing(session)
        ordinals = range(job.part * BATCH, (job.part + 1) * BATCH)
        ids = [chunk_id(UUID(job.subject), job.version, ordinal) for ordinal in ordinals]
        for index in known:
            await self._shards.erase(index, UUID(job.owner), ids)


class Rebuild(Work):
    """Brings one document into the index that is being built."""

    kind = "rebuild"
    lease = LONGEST_LEASE
    max_tries = None

    def __init__(self, rebuild: RebuildDocument, *, keeper: IndexKeeper, concurrency: int) -> None:
        self._rebuild = rebuild
        self._keeper = keeper
        self.concurrency = concurrency

    async def run(self, job: Job) -> Finish:
        await self._rebuild(job)

        async def finish(session: AsyncSession, fence: Fence) -> None:
            del fence
            if not await repository.jobs_left(session, self.kind, job.version):
                self._keeper.look_soon()

        return finish


class Drop(Work):
    """Erases the versions of a document that are below the one that answers, or have failed."""

    kind = "drop"
    max_tries = None
    concurrency = 2

    def __init__(self, sessions: Sessions, shards: Shards) -> None:
        self._sessions = sessions
        self._shards = shards

    async def run(self, job: Job) -> Finish:
        document, owner = UUID(job.subject), UUID(job.owner)
        async with self._sessions() as session:
            fence = await fences.read(session, job.subject)
            known = await indexes.existing(session)
        if fence is not None and not fence.is_deleted:
            for index in known:
                await self._shards.erase_below(index, owner, document, fence.live)
                for failed in fence.failed:
                    await self._shards.erase_version(index, owner, document, failed)

        async def finish(session: AsyncSession, fence: Fence) -> None:
            if fence.is_deleted:
                return  # the purge erases all of it, and counts it for the receipt
            versions = [run.version for run in await repository.runs(session, document)]
            late = [version for version in versions if fence.is_too_late(version)]
            await repository.erase(session, document, late)

        return finish


class Purge(Work):
    """Erases all vectors of a deleted document, and says so once none is left and nobody can write more."""

    kind = "purge"
    max_tries = None
    concurrency = 4
    # Whoever still works on it sees the fence within milliseconds.
    backoff = timedelta(milliseconds=250)

    def __init__(self, sessions: Sessions, *, shards: Shards, outbox: Outbox) -> None:
        self._sessions = sessions
        self._shards = shards
        self._outbox = outbox

    async def run(self, job: Job) -> Finish:
        order = PurgeOrder.of(job.payload)
        vectors = await _erase_vectors(self._sessions, self._shards, job)
        if await _somebody_may_write(self._sessions, job):
            raise Transient("processing.busy", "Somebody may still be writing for the document.")
        # Only now is zero a proof.
        vectors += await _erase_vectors(self._sessions, self._shards, job)

        async def finish(session: AsyncSession, fence: Fence) -> None:
            rows = await repository.erase(session, UUID(job.subject))
            said = DocumentPurged(
                document_id=UUID(job.subject),
                owner_id=UUID(job.owner),
                version=job.version,
                round=order.round,
                attempt=job.attempt,
                deletion_id=order.deletion_id,
                service="embedder",
                erased=_found(rows, vectors),
                remaining=await repository.count(session, UUID(job.subject)),
            )
            self._outbox.add(session, said)
            fence.conclude(said)
            await jobs.add_many(session, looks_again("sweep", said))

        return finish


class Sweep(Work):
    """Looks again for what was written about a deleted document, erases it, and says that it has been verified."""

    kind = "sweep"
    max_tries = None
    concurrency = 2

    def __init__(self, sessions: Sessions, *, shards: Shards, outbox: Outbox) -> None:
        self._sessions = sessions
        self._shards = shards
        self._outbox = outbox

    async def run(self, job: Job) -> Finish:
        vectors = await _erase_vectors(self._sessions, self._shards, job)

        async def finish(session: AsyncSession, fence: Fence) -> None:
            late = await repository.erase(session, UUID(job.subject))
            purged = fence.outcome_of(job.version)
            assert isinstance(purged, DocumentPurged)
            said = purged.model_copy(update={"erased": purged.erased + _found(late, vectors), "verified": True})
            self._outbox.add(session, said)
            fence.conclude(said)

        return finish


async def _somebody_may_write(sessions: Sessions, job: Job) -> bool:
    """A rebuild that was begun for one document brings along what lies in the same collection."""
    async with sessions() as session:
        if await jobs.has_live_lease(session, job.subject, WRITING):
            return True
        building = [index for index in await indexes.existing(session) if index.state == BUILDING]
        owners = await repository.owners_at_work(session, Rebuild.kind) if building else []
    mine = UUID(job.owner)
    return any(shard_of(owner, index.shards) == shard_of(mine, index.shards) for index in building for owner in owners)


async def _erase_vectors(sessions: Sessions, shards: Shards, job: Job) -> int:
    """Erase the document's vectors from every index there is, and find none left; how many there were."""
    async with sessions() as session:
        known = await indexes.existing(session)
    return sum([await shards.erase_document(index, UUID(job.owner), UUID(job.subject)) for index in known])


def _found(rows: Erased, vectors: int) -> int:
    """Rows, and the vectors in Chroma: if an earlier attempt has erased those, the rows tell how many there were."""
    embeddings = sum(rows.embeddings.values())
    return embeddings + rows.runs + max(vectors, embeddings)
