"""A worker that has taken a job, does one step at a time, and may not know that its lease has run out."""

from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar, Protocol, Self

from chassis.database import Sessions
from chassis.transactions import Transactions, driver_of
from messaging import taking
from messaging.finishing import Act, Ending, end
from messaging.jobs import Job
from messaging.tables import JobRow
from messaging.workers import Work
from sqlalchemy import func, update
from sqlalchemy.ext.asyncio import AsyncEngine


class AtWork(Protocol):
    """A service with its works."""

    engine: AsyncEngine
    sessions: Sessions

    def work(self, kind: str) -> Work: ...


@dataclass
class SlowWorker:
    """Takes a job of its usual kind, unless told."""

    usual: ClassVar[str]

    at_work: AtWork
    job: Job
    finish: Act | None = None

    @classmethod
    async def take(cls, at_work: AtWork, kind: str | None = None) -> Self:
        work = at_work.work(kind or cls.usual)
        async with at_work.sessions.begin() as session:
            (taken,), _ = await taking.take(await driver_of(session), kind=work.kind, lease=work.lease, most=1)
        return cls(at_work, taken.job)

    async def lose_lease(self) -> None:
        """Let its time run out: the job waits for somebody else."""
        async with self.at_work.sessions.begin() as session:
            past = func.now() - timedelta(seconds=1)
            await session.execute(update(JobRow).where(JobRow.kind == self.job.kind).values(lease_until=past))
            await taking.pulse(await driver_of(session), [self.job.kind])

    async def write(self) -> None:
        """Do the work, up to the final transaction."""
        self.finish = await self.at_work.work(self.job.kind).run(self.job)

    async def conclude(self) -> Ending:
        """Try the final transaction, and clear up as the harness does."""
        assert self.finish is not None
        work = self.at_work.work(self.job.kind)
        transactions = Transactions(self.at_work.engine, self.at_work.sessions)
        ended = await end(transactions, self.job, state="done", act=self.finish, heeds_fence=work.heeds_fence)
        await transactions.close()
        if ended.ending in (Ending.LOST, Ending.LOST_AND_LATE):
            await work.lost(self.job)
        if ended.ending in (Ending.LATE, Ending.LOST_AND_LATE):
            await work.erase_late(self.job)
        return ended.ending
