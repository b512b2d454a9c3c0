"""When what nobody needs is erased, and when somebody looks again."""

from collections.abc import Iterator
from datetime import timedelta

from contracts.facts import DocumentFact
from messaging import jobs
from messaging.jobs import NewJob
from sqlalchemy.ext.asyncio import AsyncSession

DROP = "drop"
"""The kind of job that erases versions which nobody needs."""

LONGEST_LEASE = timedelta(seconds=30)
"""Renewed while the work goes on; work whose worker died is taken up again this long after."""

LOOK_AGAIN = (LONGEST_LEASE + timedelta(seconds=5), timedelta(hours=1), timedelta(days=1))
"""When the sweeper looks for what a worker that was thought dead has written: after its lease, and twice more."""


async def note_drops(session: AsyncSession, fact: DocumentFact) -> None:
    """Have what this fact has made useless erased, now and when the sweeper looks again."""
    now = NewJob(kind=DROP, subject=fact.document_id, version=fact.version, owner=fact.owner_id)
    await jobs.add_many(session, [now, *looks_again(DROP, fact)])


def looks_again(kind: str, fact: DocumentFact) -> Iterator[NewJob]:
    """The sweeper's jobs, counted as parts from 1 on."""
    for part, delay in enumerate(LOOK_AGAIN, start=1):
        yield NewJob(
            kind=kind, subject=fact.document_id, version=fact.version, owner=fact.owner_id, part=part, delay=delay
        )
