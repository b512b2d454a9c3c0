"""Taking jobs: the owners in turn, what is locked by others left aside, one round trip."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

import asyncpg
from chassis.transactions import Driver

from messaging.fencing import LatenessRules
from messaging.jobs import Job

# The owners that have something waiting are found by hopping over the index, one probe an owner, however many jobs
# each of them has. The turn is that of whoever has the fewest being done, and of several that of whoever was served
# longest ago. Of each owner in turn the oldest due job is locked, or as many as make its share; a job (or a fence) that
# somebody else holds at this moment is passed over.
_TAKE = """
    WITH RECURSIVE owners(owner, first_at) AS (
        (SELECT owner, available_at FROM jobs WHERE kind = $1 AND {waiting}
         ORDER BY owner, available_at LIMIT 1)
        UNION ALL
        SELECT following.* FROM owners, LATERAL (
            SELECT owner, available_at FROM jobs WHERE kind = $1 AND {waiting} AND owner > owners.owner
            ORDER BY owner, available_at LIMIT 1) AS following
    ), held AS MATERIALIZED (
        SELECT owner, count(*) AS jobs FROM jobs WHERE kind = $1 AND state = 'running' GROUP BY owner
    ), turns AS MATERIALIZED (
        SELECT owners.owner FROM owners LEFT JOIN held USING (owner) LEFT JOIN LATERAL (
            SELECT taken_at FROM jobs WHERE kind = $1 AND owner = owners.owner AND taken_at IS NOT NULL
            ORDER BY taken_at DESC LIMIT 1) AS served ON true
        WHERE owners.first_at <= clock_timestamp()
        ORDER BY coalesce(held.jobs, 0), served.taken_at NULLS FIRST, owners.owner
    ), picked AS MATERIALIZED (
        SELECT oldest.* FROM turns, LATERAL (
            SELECT job.subject, job.version, job.part, fence.live, fence.failed, fence.deleted_at
            FROM jobs AS job JOIN fences AS fence ON fence.subject = job.subject
            WHERE job.kind = $1 AND {waiting} AND job.owner = turns.owner
                AND job.available_at <= clock_timestamp()
            ORDER BY job.available_at, job.part LIMIT greatest(1, $2::bigint / (SELECT count(*) FROM turns))
            FOR UPDATE OF {locked} SKIP LOCKED) AS oldest
        LIMIT $2
    ), taken AS (
        UPDATE jobs SET state = 'running', attempt = attempt + 1, taken_at = clock_timestamp(),
            lease_until = clock_timestamp() + $3::interval
        FROM picked
        WHERE jobs.kind = $1 AND jobs.subject = picked.subject AND jobs.version = picked.version
            AND jobs.part = picked.part
        RETURNING jobs.subject, jobs.version, jobs.part, jobs.owner, jobs.attempt, jobs.tries, jobs.crashes,
            jobs.payload, jobs.traceparent, picked.live, picked.failed, picked.deleted_at
    )
    SELECT (SELECT count(*) FROM turns) AS due, taken.* FROM (SELECT) AS once LEFT JOIN taken ON true
"""

_ANY = "state = 'waiting'"
_LIGHT = "state = 'waiting' AND light"

_TAKE_JOB = _TAKE.format(locked="job", waiting=_ANY)
_TAKE_JOB_AND_FENCE = _TAKE.format(locked="job, fence", waiting=_ANY)
_TAKE_LIGHT = _TAKE.format(locked="job", waiting=_LIGHT)
_TAKE_LIGHT_AND_FENCE = _TAKE.format(locked="job, fence", waiting=_LIGHT)

_RENEW = """
    UPDATE jobs SET lease_until = clock_timestamp() + $2::interval
    FROM fences, unnest($3::text[], $4::int[], $5::int[], $6::int[]) AS mine(subject, version, part, attempt)
    WHERE jobs.kind = $1 AND jobs.subject = mine.subject AND jobs.version = mine.version AND jobs.part = mine.part
        AND jobs.attempt = mine.attempt AND jobs.state = 'running' AND fences.subject = jobs.subject
    RETURNING jobs.subject, jobs.version, jobs.part, jobs.attempt, fences.live, fences.failed, fences.deleted_at
"""

_PULSE = """
    WITH reclaimed AS (
        UPDATE jobs SET state = 'waiting', crashes = crashes + 1, available_at = clock_timestamp(), lease_until = NULL
        WHERE (subject, version, kind, part) IN (
            SELECT subject, version, kind, part FROM jobs
            WHERE state = 'running' AND lease_until < clock_timestamp() AND clock_timestamp() <= $2::timestamptz
            FOR UPDATE SKIP LOCKED)
        RETURNING kind
    ), due AS (
        SELECT kind FROM reclaimed
        UNION
        SELECT kind FROM unnest($1::text[]) AS kinds(kind) WHERE EXISTS (
            SELECT FROM jobs WHERE jobs.kind = kinds.kind AND state = 'waiting' AND available_at <= clock_timestamp()))
    SELECT clock_timestamp() AS at, array(SELECT kind FROM due) AS kinds
"""

_Row: TypeAlias = "asyncpg.Record"

Key = tuple[str, int, int, int]
"""Subject, version, part and attempt: a job among those of its kind, as it was taken once."""

ALWAYS = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class SeenFence(LatenessRules):
    """A fence as it was at a glance, unlocked: enough to stop early, never to conclude."""

    live: int
    failed: list[int]
    deleted_at: datetime | None


@dataclass(frozen=True)
class Taken:
    """A job that is ours until its lease ends."""

    job: Job
    fence: SeenFence


async def take(
    driver: Driver, *, kind: str, lease: timedelta, most: int, with_fence: bool = False, light: bool = False
) -> tuple[list[Taken], int]:
    """Take up to `most` due jobs, of all owners alike, and how many owners had something due.

    `with_fence` locks their fences, too: then this transaction may say something about the subjects. `light` leaves all
    others aside.
    """
    if light:
        statement = _TAKE_LIGHT_AND_FENCE if with_fence else _TAKE_LIGHT
    else:
        statement = _TAKE_JOB_AND_FENCE if with_fence else _TAKE_JOB
    rows = await driver.fetch(statement, kind, most, lease)
    return [_taken(kind, row) for row in rows if row["subject"] is not None], rows[0]["due"]


async def renew(driver: Driver, *, kind: str, lease: timedelta, jobs: Sequence[Job]) -> dict[Key, SeenFence]:
    """Prolong the leases that are still held; gives the fence of each of these jobs."""
    rows = await driver.fetch(
        _RENEW,
        kind,
        lease,
        [job.subject for job in jobs],
        [job.version for job in jobs],
        [job.part for job in jobs],
        [job.attempt for job in jobs],
    )
    return {(row["subject"], row["version"], row["part"], row["attempt"]): _fence(row) for row in rows}


async def pulse(
    driver: Driver, kinds: Sequence[str], *, reclaims_until: datetime = ALWAYS
) -> tuple[datetime, Sequence[str]]:
    """Make the jobs whose lease ran out wait again, and count the crash, if it is not later than that.

    Gives what time it is, and the kinds of which something is due. Times are the database's.
    """
    row = await driver.fetchrow(_PULSE, list(kinds), reclaims_until)
    assert row is not None, "one row, always"
    return row["at"], row["kinds"]


def key_of(job: Job) -> Key:
    return job.subject, job.version, job.part, job.attempt


def _taken(kind: str, row: _Row) -> Taken:
    job = Job(
        kind=kind,
        subject=row["subject"],
        version=row["version"],
        part=row["part"],
        owner=row["owner"],
        attempt=row["attempt"],
        tries=row["tries"],
        crashes=row["crashes"],
        payload=row["payload"],
        traceparent=row["traceparent"],
    )
    return Taken(job, _fence(row))


def _fence(row: _Row) -> SeenFence:
    return SeenFence(live=row["live"], failed=row["failed"], deleted_at=row["deleted_at"])
