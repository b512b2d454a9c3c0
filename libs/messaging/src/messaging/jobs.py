"""Noting work: what a handler does. `messaging.working` takes it from there."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from chassis.telemetry import traceparent
from chassis.transactions import driver_of
from pydantic import JsonValue
from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from messaging.tables import JobRow
from messaging.waking import wake_after_commit

# Every job has a fence, so that taking and renewing can look at it in the same statement.
_ADD = """
    WITH new AS MATERIALIZED (
        SELECT * FROM unnest($1::text[], $2::text[], $3::int[], $4::int[], $5::text[], $6::text[],
                             $7::timestamptz[], $8::interval[], $9::bool[])
            AS new(kind, subject, version, part, owner, payload, due, delay, light)
    ), fenced AS (
        INSERT INTO fences (subject) SELECT DISTINCT subject FROM new ORDER BY subject ON CONFLICT DO NOTHING
    )
    INSERT INTO jobs (kind, subject, version, part, owner, payload, available_at, light, traceparent)
    SELECT kind, subject, version, part, owner, CAST(payload AS jsonb), coalesce(now() + delay, due, now()), light,
        $10::text
    FROM new ON CONFLICT DO NOTHING RETURNING part
"""

AT_ONCE = 2000  # jobs a statement, which ends well within its time limit

_END_WAITING = """
    UPDATE jobs SET state = 'done', finished_at = now()
    WHERE kind = $1 AND version = $2 AND subject = ANY($3) AND state = 'waiting'
"""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A taken job. `attempt` counts its takings and only grows: it is the token of the final transaction.

    `tries` counts the runs that ended in a transient failure, `crashes` the leases that ran out.
    """

    kind: str
    subject: str
    version: int
    part: int
    owner: str
    attempt: int
    tries: int
    crashes: int
    payload: Mapping[str, JsonValue] | None
    traceparent: str | None


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """A job to be added. `owner` is whose turn it takes; `delay` from now, by the database's clock.

    A `light` one may have a place among those that its kind keeps for light ones, beside any other.
    """

    kind: str
    subject: str | UUID
    version: int
    owner: str | UUID
    part: int = 0
    payload: Mapping[str, JsonValue] | None = None
    available_at: datetime | None = None
    delay: timedelta | None = None
    light: bool = False


async def add(
    session: AsyncSession,
    *,
    kind: str,
    subject: str | UUID,
    version: int,
    owner: str | UUID,
    part: int = 0,
    payload: Mapping[str, JsonValue] | None = None,
    available_at: datetime | None = None,
    delay: timedelta | None = None,
    light: bool = False,
) -> bool:
    """Note one job. True if it is new; whatever there is of it already, running or done, stays as it is.

    Finished jobs are kept longer than any topic remembers, so that a record heard again finds what came of it.
    """
    new = NewJob(
        kind=kind,
        subject=subject,
        version=version,
        owner=owner,
        part=part,
        payload=payload,
        available_at=available_at,
        delay=delay,
        light=light,
    )
    return await add_many(session, [new]) == 1


async def add_many(session: AsyncSession, new: Iterable[NewJob]) -> int:
    """Note many jobs at once. Gives the number of those that are new."""
    jobs = list(new)
    if not jobs:
        return 0
    driver, added = await driver_of(session), 0
    for start in range(0, len(jobs), AT_ONCE):
        added += len(await driver.fetch(_ADD, *_columns(jobs[start : start + AT_ONCE])))
    wake_after_commit(session, *(job.kind for job in jobs if job.delay is None and job.available_at is None))
    return added


async def pending(
    session: AsyncSession, subject: str | UUID, *, version: int | None = None, kinds: Collection[str] | None = None
) -> int:
    """How many jobs of the subject are still to be done or being done."""
    where = and_(JobRow.state.in_(("waiting", "running")), *_about(subject, version=version, kinds=kinds))
    return await session.scalar(select(func.count()).select_from(JobRow).where(where)) or 0


async def has_live_lease(session: AsyncSession, subject: str | UUID, kinds: Collection[str] | None = None) -> bool:
    """Whether somebody may be writing for the subject at this moment, by the database's clock."""
    where = and_(JobRow.state == "running", JobRow.lease_until > func.clock_timestamp(), *_about(subject, kinds=kinds))
    return bool(await session.scalar(select(select(JobRow).where(where).exists())))


async def cancel(
    session: AsyncSession,
    subject: str | UUID,
    *,
    version: int | None = None,
    below_version: int | None = None,
    kinds: Collection[str] | None = None,
) -> int:
    """End the subject's jobs that nobody is doing. What is running ends by itself when it sees the fence."""
    unheld = or_(
        JobRow.state == "waiting", and_(JobRow.state == "running", JobRow.lease_until <= func.clock_timestamp())
    )
    about = _about(subject, version=version, below_version=below_version, kinds=kinds)
    ended = await session.scalars(
        update(JobRow)
        .where(unheld, *about)
        .values(state="cancelled", finished_at=func.now(), lease_until=None)
        .returning(JobRow.part)
        .execution_options(synchronize_session=False)
    )
    return len(ended.all())


async def end_waiting(session: AsyncSession, subjects: Iterable[str | UUID], *, kind: str, version: int) -> None:
    """End the jobs of these subjects that nobody has begun: what they are for was done together with another one."""
    driver = await driver_of(session)
    await driver.execute(_END_WAITING, kind, version, [str(subject) for subject in subjects])


def _columns(jobs: Sequence[NewJob]) -> tuple[object, ...]:
    return (
        [job.kind for job in jobs],
        [str(job.subject) for job in jobs],
        [job.version for job in jobs],
        [job.part for job in jobs],
        [str(job.owner) for job in jobs],
        [None if job.payload is None else json.dumps(dict(job.payload)) for job in jobs],
        [job.available_at for job in jobs],
        [job.delay for job in jobs],
        [job.light for job in jobs],
        traceparent(),
    )


def _about(
    subject: str | UUID,
    *,
    version: int | None = None,
    below_version: int | None = None,
    kinds: Collection[str] | None = None,
) -> list[ColumnElement[bool]]:
    about: list[ColumnElement[bool]] = [JobRow.subject == str(subject)]
    if version is not None:
        about.append(JobRow.version == version)
    if below_version is not None:
        about.append(JobRow.version < below_version)
    if kinds is not None:
        about.append(JobRow.kind.in_(kinds))
    return about
