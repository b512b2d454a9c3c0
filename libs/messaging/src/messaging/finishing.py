"""Ending a taking of a job: the transactions that say `WHERE attempt = :mine`."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto

from chassis.transactions import Transactions, driver_of
from sqlalchemy import ColumnElement, Update, and_, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from messaging import fences
from messaging.fences import Fence
from messaging.jobs import Job
from messaging.tables import JobRow
from messaging.waking import woken_by

# The fence first, then the jobs that are still ours: one round trip for both.
_END = f"""
    WITH fence AS (SELECT {fences.COLUMNS} FROM fences WHERE subject = $1 FOR UPDATE),
         ended AS (UPDATE jobs SET state = $6, finished_at = now(), lease_until = NULL, failure = $7
                   FROM fence, unnest($2::int[], $3::text[], $4::int[], $5::int[])
                       AS mine (version, kind, part, attempt)
                   WHERE jobs.subject = fence.subject AND jobs.version = mine.version AND jobs.kind = mine.kind
                       AND jobs.part = mine.part AND jobs.attempt = mine.attempt AND state = 'running'
                   RETURNING 1)
    SELECT {fences.COLUMNS}, (SELECT count(*) FROM ended) AS ended FROM fence
"""  # noqa: S608 - constants of ours

Act = Callable[[AsyncSession, Fence], Awaitable[None]]


class _Late(Exception):
    """Takes the transaction back."""


class NotTogether(Exception):
    """Not all of these jobs could be ended by one transaction, which is taken back."""


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
    transactions: Transactions,
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
    try:
        return await _end(
            transactions, job, state=state, act=act, heeds_fence=heeds_fence, erased=erased, failure=failure
        )
    except _Late:
        return Ended(Ending.LATE)


async def end_together(transactions: Transactions, done: Sequence[tuple[Job, Act]], *, heeds_fence: bool) -> Ended:
    """One final transaction for several jobs of a subject that are done, if nothing stands against any of them.

    Raises `NotTogether`, or whatever one of them raised; then nothing has happened, and each is to be ended by itself.
    """
    done = sorted(done, key=lambda each: each[0].part)  # as leases are renewed: neither waits for the other
    async with transactions.begin() as session:
        fence, ended = await _end_jobs(session, [job for job, _ in done], state="done", failure=None)
        if fence is None or not ended:
            raise NotTogether
        for job, act in done:
            if heeds_fence and (fence.is_too_late(job.version) or fence.is_over(job.version)):
                raise NotTogether
            await act(session, fence)
    return Ended(Ending.WON, woken_by(session))


async def _end(
    transactions: Transactions,
    job: Job,
    *,
    state: str,
    act: Act,
    heeds_fence: bool,
    erased: bool,
    failure: str | None,
) -> Ended:
    async with transactions.begin() as session:
        fence, ended = await _end_jobs(session, [job], state=state, failure=failure)
        late = fence is not None and heeds_fence and fence.is_too_late(job.version)
        if fence is None or not ended:
            # A commit whose answer was lost on the way is no defeat.
            won = await _has_ended(session, job, state)
            return Ended(Ending.WON if won else Ending.LOST_AND_LATE if late else Ending.LOST)
        if late and not erased:
            raise _Late
        if heeds_fence and fence.is_over(job.version):
            await session.execute(_same_state(job, "cancelled"))
            return Ended(Ending.OVER)
        await act(session, fence)
    return Ended(Ending.WON, woken_by(session))


async def put_back(
    transactions: Transactions,
    job: Job,
    *,
    delay: timedelta = timedelta(0),
    tried: bool = False,
    failure: str | None = None,
) -> bool:
    """Let the job wait again; `tried` counts it as a try. False if it was no longer ours."""
    async with transactions.begin() as session:
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


async def is_too_late(transactions: Transactions, job: Job) -> bool:
    """Whether what was written for this job would have to be erased."""
    async with transactions.begin() as session:
        fence = await fences.read(session, job.subject)
        return fence is not None and fence.is_too_late(job.version)


async def _end_jobs(
    session: AsyncSession, jobs: Sequence[Job], *, state: str, failure: str | None
) -> tuple[Fence | None, bool]:
    """Their fence, locked, and whether all of them were still ours and are ended now."""
    driver = await driver_of(session)
    row = await driver.fetchrow(
        _END,
        jobs[0].subject,
        [job.version for job in jobs],
        [job.kind for job in jobs],
        [job.part for job in jobs],
        [job.attempt for job in jobs],
        state,
        failure,
    )
    return (None, False) if row is None else (fences.hold(session, row), row["ended"] == len(jobs))


async def _has_ended(session: AsyncSession, job: Job, state: str) -> bool:
    """Whether this very attempt has ended the job already."""
    where = and_(_same(job), JobRow.attempt == job.attempt, JobRow.state == state)
    return bool(await session.scalar(select(select(JobRow).where(where).exists())))


def _same_state(job: Job, state: str) -> Update:
    return update(JobRow).where(_same(job)).values(state=state).execution_options(synchronize_session=False)


def _ours(job: Job) -> ColumnElement[bool]:
    return and_(_same(job), JobRow.attempt == job.attempt, JobRow.state == "running")


def _same(job: Job) -> ColumnElement[bool]:
    return and_(
        JobRow.subject == job.subject,
        JobRow.version == job.version,
        JobRow.kind == job.kind,
        JobRow.part == job.part,
    )
