"""Erasing a deleted document from a stage, and proving that nothing of it is left there."""

from datetime import timedelta
from uuid import UUID

from chassis.database import Sessions
from chassis.failures import Transient
from contracts.facts import DocumentPurged
from messaging import jobs
from messaging.fences import Fence
from messaging.jobs import Job
from messaging.workers import Finish, Work
from sqlalchemy.ext.asyncio import AsyncSession

from stages.erasing import looks_again
from stages.stage import PurgeOrder, Stage


class Purge(Work):
    """Erases all that a stage holds of a deleted document; says so once nothing is left and nobody can write more."""

    max_tries = None
    # Whoever still works on it sees the fence within milliseconds.
    backoff = timedelta(milliseconds=250)

    def __init__(
        self, stage: Stage, sessions: Sessions, *, concurrency: int, backoff_ceiling: timedelta = Work.backoff_ceiling
    ) -> None:
        self._stage = stage
        self._sessions = sessions
        self.kind = stage.purge
        self.concurrency = concurrency
        self.backoff_ceiling = backoff_ceiling

    async def run(self, job: Job) -> Finish:
        order = PurgeOrder.of(job.payload)
        holdings, document, owner = self._stage.holdings, UUID(job.subject), UUID(job.owner)
        outside = await holdings.erase_outside(owner, document)
        if await self._may_be_written(document, owner):
            raise Transient("processing.busy", "Somebody may still be writing for the document.")
        # Only now is zero a proof.
        outside += await holdings.erase_outside(owner, document)

        async def finish(session: AsyncSession, fence: Fence) -> None:
            erased = await holdings.erase(session, document, outside=outside)
            said = DocumentPurged(
                document_id=document,
                owner_id=owner,
                version=job.version,
                round=order.round,
                attempt=job.attempt,
                deletion_id=order.deletion_id,
                service=self._stage.name,
                erased=order.hidden + erased,
                remaining=await holdings.count(session, document),
            )
            self._stage.conclude(session, fence, said)
            await jobs.add_many(session, looks_again(self._stage.sweep, said))

        return finish

    async def _may_be_written(self, document: UUID, owner: UUID) -> bool:
        async with self._sessions() as session:
            if await jobs.has_live_lease(session, document, self._stage.writes):
                return True
            return await self._stage.holdings.is_written_for_others(session, owner)


class Sweep(Work):
    """Looks again for what was written about a deleted document, erases it, and says that it has been verified."""

    max_tries = None

    def __init__(self, stage: Stage, *, concurrency: int) -> None:
        self._stage = stage
        self.kind = stage.sweep
        self.concurrency = concurrency

    async def run(self, job: Job) -> Finish:
        holdings, document = self._stage.holdings, UUID(job.subject)
        outside = await holdings.erase_outside(UUID(job.owner), document)

        async def finish(session: AsyncSession, fence: Fence) -> None:
            late = await holdings.erase(session, document, outside=outside)
            remaining = await holdings.count(session, document)
            purged = fence.outcome_of(job.version)
            assert isinstance(purged, DocumentPurged)
            counted = {"erased": purged.erased + late, "remaining": remaining, "verified": True}
            # It answers the round that was answered last: one that is heard again is no new one.
            said = purged.model_copy(update={**counted, "round": fence.outcome_round})
            self._stage.conclude(session, fence, said)

        return finish
