"""Ending a taking of a job: the transactions that say `WHERE attempt = :mine`."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto

from chassis.database import Sessions
from sqlalchemy import ColumnElement, and_, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from messaging import fences
from messaging.fences import Fence
from messaging.jobs import Job
from messaging.tables import JobRow
from messaging.waking import woken_by

Act = Callable[[AsyncSession, Fence], Awaitable[None]]


class Ending(Enum):
    """What became of a taking."""

    WON = auto()
    """Its final transaction is committed."""
    OVER = auto()
    """Its version is over: the job is ended, and nothing was said."""
    LATE = auto()
    """Its version is too late: what was written outside is to be erased first, and the job is still ours."""
    LOST = auto()
    """Another attempt has the job, or will have it."""
    LOST_AND_LATE = auto()


@dataclass(frozen=True)
class Ended:
    """What became of a taking, and for which kinds of work its transaction made jobs."""

    ending: Ending
    woken: frozenset[str] = frozenset()


async def end(
    sessions: Sessions,
    job: Job,
    *,
    state: str,
    act: Act,
    heeds_fence: bool,
    erased: bool = False,
    failure: str | None = None,
) -> Ended:
    """The final transaction: the fence first, then the job if it is still ours, then `act`.

    `erased` says that what came too late is erased, so that the job may end.
    """
    async with sessions.begin() as session:
        fence = await fences.lock(session, job.subject)
        late = heeds_fence and fence.is_too_late(job.version)
        over = heeds_fence and fence.is_over(job.version)
        if late and not erased:
            return Ended(Ending.LATE if await _is_ours(session, job) else Ending.LOST_AND_LATE)
        if not await _mark(session, job, state="cancelled" if over else state, failure=failure):
            # A commit whose answer was lost on the way is no defeat.
            return Ended(Ending.WON if await _has_ended(session, job, state) else Ending.LOST)
        if over:
            return Ended(Ending.OVER)
        await act(session, fence)
    return Ended(Ending.WON, woken_by(session))


async def put_back(
    sessions: Sessions, job: Job, *, delay: timedelta = timedelta(0), tried: bool = False, failure: str | None = None
) -> bool:
    """Let the job wait again; `tried` counts it as a try. False if it was no longer ours."""
    async with sessions.begin() as session:
        found = await session.scalar(
            update(JobRow)
            .where(_ours(job))
            .values(
                state="waiting",
                tries=JobRow.tries + 1 if tried else JobRow.tries,
                available_at=func.clock_timestamp() + delay,
                lease_until=None,
                failure=failure,
            )
            .returning(JobRow.attempt)
            .execution_options(synchronize_session=False)
        )
        if found is not None and not delay:
            await session.execute(select(func.pg_notify("jobs", job.kind)))
    return found is not None


async def is_too_late(sessions: Sessions, job: Job) -> bool:
    """Whether what was written for this job would have to be erased."""
    async with sessions.begin() as session:
        fence = await fences.read(session, job.subject)
        return fence is not None and fence.is_too_late(job.version)


async def _mark(session: AsyncSession, job: Job, *, state: str, failure: str | None) -> bool:
    marked = await session.scalar(
        update(JobRow)
        .where(_ours(job))
        .values(state=state, finished_at=func.now(), lease_until=None, failure=failure)
        .returning(JobRow.attempt)
        .execution_options(synchronize_session=False)
    )
    return marked is not None


async def _is_ours(session: AsyncSession, job: Job) -> bool:
    return bool(await session.scalar(select(select(JobRow).where(_ours(job)).exists())))


async def _has_ended(session: AsyncSession, job: Job, state: str) -> bool:
    """Whether this very attempt has ended the job already."""
    where = and_(_same(job), JobRow.attempt == job.attempt, JobRow.state == state)
    return bool(await session.scalar(select(select(JobRow).where(where).exists())))


def _ours(job: Job) -> ColumnElement[bool]:
    return and_(_same(job), JobRow.attempt == job.attempt, JobRow.state == "running")


def _same(job: Job) -> ColumnElement[bool]:
    return and_(
        JobRow.subject == job.subject,
        JobRow.version == job.version,
        JobRow.kind == job.kind,
        JobRow.part == job.part,
    )
