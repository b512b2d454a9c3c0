"""Erasing versions that nobody needs: below the one that answers, or failed."""

from uuid import UUID

from chassis.database import Sessions
from messaging import fences
from messaging.fences import Fence
from messaging.jobs import Job
from messaging.workers import Finish, Work
from sqlalchemy.ext.asyncio import AsyncSession

from stages.erasing import DROP
from stages.stage import Stage


class Drop(Work):
    """Erases the versions of a document that are below the one that answers, or have failed."""

    kind = DROP
    max_tries = None
    concurrency = 2

    def __init__(self, stage: Stage, sessions: Sessions) -> None:
        self._holdings = stage.holdings
        self._sessions = sessions

    async def run(self, job: Job) -> Finish:
        document = UUID(job.subject)
        async with self._sessions() as session:
            fence = await fences.read(session, document)
        if fence is not None and not fence.is_deleted:
            await self._holdings.erase_late_outside(fence, UUID(job.owner), document)

        async def finish(session: AsyncSession, fence: Fence) -> None:
            if fence.is_deleted:
                return  # the purge erases all of it, and counts it for the receipt
            await self._holdings.erase_late(session, fence, document)

        return finish
