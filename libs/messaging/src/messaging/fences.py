"""The fence of a subject: locked first, in every handler and in every final transaction."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from types import MappingProxyType
from typing import TypeAlias
from uuid import UUID

import asyncpg
from chassis.transactions import Driver, before_commit, driver_of, memory_of
from pydantic import JsonValue
from sqlalchemy.ext.asyncio import AsyncSession

from messaging.fencing import FenceRules

Row: TypeAlias = "asyncpg.Record"

_LOCKED = "messaging.fences"


@dataclass
class Fence(FenceRules):
    """What is known of a subject. What is changed of a locked one is kept when its transaction commits."""

    subject: str
    version: int = 0
    live: int = 0
    failed: list[int] = field(default_factory=list)
    deleted_at: datetime | None = None
    outcome_type: str | None = None
    outcome_version: int | None = None
    outcome_round: int | None = None
    outcome: Mapping[str, JsonValue] | None = None


_FIELDS = [each.name for each in fields(Fence)]

COLUMNS = ", ".join(_FIELDS)
"""By name: what `*` stands for changes under a running service when the next release adds a column."""

# One round trip, whether the row is there or not, and no new row version where it is. Nothing comes back if another
# transaction makes the row at this moment: then it is there the next time.
_LOCK = f"""
    WITH found AS (SELECT {COLUMNS} FROM fences WHERE subject = $1 FOR UPDATE),
         made AS (INSERT INTO fences (subject, version) SELECT $1, $2
                  WHERE NOT EXISTS (SELECT FROM found)
                  ON CONFLICT DO NOTHING RETURNING {COLUMNS})
    SELECT {COLUMNS} FROM found UNION ALL SELECT {COLUMNS} FROM made
"""  # noqa: S608 - constants of ours

# Of several, those that are not there are made first, in the order of their ids, and then all are locked, likewise. One
# statement for both would lock what it sees, wait, and come back for what others have made meanwhile: in a circle.
_MAKE_MANY = """
    INSERT INTO fences (subject, version)
    SELECT * FROM unnest($1::text[], $2::int[]) AS new (subject, version) ORDER BY subject
    ON CONFLICT DO NOTHING
"""

_LOCK_MANY = f"SELECT {COLUMNS} FROM fences WHERE subject = ANY($1) ORDER BY subject FOR UPDATE"  # noqa: S608 - likewise

_SHARE = f"SELECT {COLUMNS} FROM fences WHERE subject = ANY($1) ORDER BY subject FOR SHARE"  # noqa: S608 - likewise

_READ = f"SELECT {COLUMNS} FROM fences WHERE subject = $1"  # noqa: S608 - likewise

_KEEP = """
    UPDATE fences SET version = $2, live = $3, failed = $4, deleted_at = $5,
        outcome_type = $6, outcome_version = $7, outcome_round = $8, outcome = $9
    WHERE subject = $1
"""


async def lock(session: AsyncSession, subject: str | UUID, *, heard: int = 0) -> Fence:
    """The subject's fence, locked until the transaction ends; made if this service has never heard of it.

    `heard` is the version that was heard of, if there is one: a new fence has it at once, and need not be changed.
    """
    name = str(subject)
    if (known := _locked(session).get(name)) is not None:
        return known
    driver = await driver_of(session)
    while True:
        row = await driver.fetchrow(_LOCK, name, heard)
        if row is not None:
            return hold(session, row)


async def lock_many(
    session: AsyncSession, subjects: Iterable[str | UUID], *, heard: Mapping[str, int] = MappingProxyType({})
) -> dict[str, Fence]:
    """Several fences, locked in the order of their ids: two transactions never wait for each other."""
    wanted, locked = {str(subject) for subject in subjects}, _locked(session)
    if missing := sorted(wanted - locked.keys()):
        driver = await driver_of(session)
        await driver.execute(_MAKE_MANY, missing, [heard.get(subject, 0) for subject in missing])
        for row in await driver.fetch(_LOCK_MANY, missing):
            hold(session, row)
    return {subject: locked[subject] for subject in wanted}


async def share(session: AsyncSession, subjects: Iterable[str | UUID]) -> dict[str, Fence]:
    """The fences, kept from changing until the transaction ends; a subject never heard of gets one, to be kept, too."""
    wanted = sorted({str(subject) for subject in subjects})
    driver = await driver_of(session)
    found = await driver.fetch(_SHARE, wanted)
    if len(found) < len(wanted):
        await driver.execute(_MAKE_MANY, wanted, [0] * len(wanted))
        found = await driver.fetch(_SHARE, wanted)
    return {row["subject"]: _fence(row) for row in found}


async def read(session: AsyncSession, subject: str | UUID) -> Fence | None:
    """The fence as it is now, unlocked; None if this service has never heard of the subject."""
    name = str(subject)
    if (known := _locked(session).get(name)) is not None:
        return known
    row = await (await driver_of(session)).fetchrow(_READ, name)
    return None if row is None else _fence(row)


def hold(session: AsyncSession, row: Row) -> Fence:
    """A fence that a statement of this transaction has locked."""
    fence = _fence(row)
    _locked(session)[fence.subject] = fence
    was = replace(fence)

    async def keep(driver: Driver) -> None:
        if fence != was:
            await driver.execute(_KEEP, *_values(fence))

    before_commit(session, keep)
    return fence


def _locked(session: AsyncSession) -> dict[str, Fence]:
    locked: dict[str, Fence] = memory_of(session).setdefault(_LOCKED, {})
    return locked


def _fence(row: Row) -> Fence:
    return Fence(**{name: row[name] for name in _FIELDS})


def _values(fence: Fence) -> Sequence[object]:
    *columns, outcome = (getattr(fence, name) for name in _FIELDS)
    return *columns, None if outcome is None else json.dumps(dict(outcome))
