"""Forgetting what nobody will ask for again."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Delete, and_, delete, func, inspect, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from messaging.chores import Chore
from messaging.tables import DeadLetter, JobRow, OutboxRow

AT_ONCE = 5000  # rows a transaction, so that no lock is held for long


@dataclass(frozen=True)
class Ages:
    """How long what is done with is kept."""

    sent: timedelta = timedelta(hours=1)
    sent_and_kept: timedelta = timedelta(days=7)  # as long as the topics keep them
    finished: timedelta = timedelta(days=8)  # longer than any topic can deliver again what made the job
    dead: timedelta = timedelta(days=30)


def housekeeping(ages: Ages | None = None, *, every: timedelta = timedelta(minutes=5)) -> Chore:
    """The chore that every service has."""
    kept = ages or Ages()

    async def run(session: AsyncSession) -> None:
        await prune(session, kept)

    return Chore(name="housekeeping", every=every, run=run)


async def prune(session: AsyncSession, ages: Ages) -> None:
    """Remove what is past its age."""
    for statement in (
        _past(OutboxRow, and_(~OutboxRow.kept, OutboxRow.sent_at < func.now() - ages.sent)),
        _past(OutboxRow, and_(OutboxRow.kept, OutboxRow.sent_at < func.now() - ages.sent_and_kept)),
        _past(DeadLetter, DeadLetter.added_at < func.now() - ages.dead),
        _past(JobRow, JobRow.finished_at < func.now() - ages.finished),
    ):
        await delete_all(session, statement)


async def delete_all(session: AsyncSession, statement: Delete) -> None:
    """Repeat `statement`, which deletes `AT_ONCE` rows at most, each time in a transaction, until none are left."""
    while True:
        result: Any = await session.execute(statement, execution_options={"synchronize_session": False})
        await session.commit()
        if result.rowcount < AT_ONCE:
            return


def _past(table: type[Any], past: ColumnElement[bool]) -> Delete:
    key = tuple_(*inspect(table).primary_key)
    some = select(*inspect(table).primary_key).where(past).limit(AT_ONCE)
    return delete(table).where(key.in_(some))
