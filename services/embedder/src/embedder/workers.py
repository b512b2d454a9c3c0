"""What the embedder does: embedding and rebuilding."""

from uuid import UUID

from chassis.database import Sessions
from chassis.failures import Failure
from contracts.chunks_file import BATCH
from contracts.index import chunk_id
from messaging.fences import Fence
from messaging.jobs import Job
from messaging.workers import Finish, Work
from sqlalchemy.ext.asyncio import AsyncSession
from stages.erasing import LONGEST_LEASE
from stages.stage import Stage

from embedder import indexes, repository
from embedder.embedding import EmbedBatch
from embedder.keeping import IndexKeeper
from embedder.orders import REBUILD
from embedder.rebuilding import RebuildDocument
from embedder.shards import Shards


class Embed(Work):
    """Embeds one batch of a version."""

    kind = "embed"
    light_concurrency = 4  # batches of few chunks: whole ones keep the others' places for seconds, with the local model
    lease = LONGEST_LEASE

    def __init__(
        self, embed: EmbedBatch, *, sessions: Sessions, shards: Shards, stage: Stage, concurrency: int, tries: int
    ) -> None:
        self._embed = embed
        self._sessions = sessions
        self._shards = shards
        self._stage = stage
        self.concurrency = concurrency
        self.max_tries = tries

    async def run(self, job: Job) -> Finish:
        return await self._embed(job)

    async def give_up(self, session: AsyncSession, fence: Fence, job: Job, failure: Failure) -> None:
        """One batch that cannot be embedded is a version that cannot; the other batches are dropped."""
        of = await repository.runs(session, UUID(job.subject))
        asked = next((run.round for run in of if run.version == job.version), 0)
        await self._stage.fail(session, fence, job, failure, asked=asked)

    async def erase_late(self, job: Job) -> None:
        async with self._sessions() as session:
            known = await indexes.existing(session)
        ordinals = range(job.part * BATCH, (job.part + 1) * BATCH)
        ids = [chunk_id(UUID(job.subject), job.version, ordinal) for ordinal in ordinals]
        for index in known:
            await self._shards.erase(index, UUID(job.owner), ids)


class Rebuild(Work):
    """Brings one document into the index that is being built."""

    kind = REBUILD
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
            # Of those that run at the same time none knows whether it is the last: each of them asks for a look.
            if not await repository.jobs_wait(session, self.kind, job.version):
                self._keeper.look_soon()

        return finish
