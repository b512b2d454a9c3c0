"""When what nobody needs is erased, and when somebody looks again."""

from collections.abc import Iterator, Mapping
from datetime import timedelta

from contracts.facts import DocumentFact
from messaging import jobs
from messaging.jobs import NewJob
from pydantic import JsonValue
from sqlalchemy.ext.asyncio import AsyncSession

LONGEST_LEASE = timedelta(seconds=30)
"""Renewed while the work goes on; a batch whose worker died is taken up again this long after."""

LOOK_AGAIN = (LONGEST_LEASE + timedelta(seconds=5), timedelta(hours=1), timedelta(days=1))
"""When the sweeper looks for what a worker that was thought dead has written: after its lease, and twice more."""


async def add_drops(session: AsyncSession, fact: DocumentFact) -> None:
    """Erase what this fact has made useless, now and when the sweeper looks again."""
    now = NewJob(kind="drop", subject=fact.document_id, version=fact.version, owner=fact.owner_id)
    await jobs.add_many(session, [now, *looks_again("drop", fact)])


def looks_again(kind: str, fact: DocumentFact, payload: Mapping[str, JsonValue] | None = None) -> Iterator[NewJob]:
    """The sweeper's jobs, counted as parts from 1 on."""
    for part, delay in enumerate(LOOK_AGAIN, start=1):
        yield NewJob(
            kind=kind,
            subject=fact.document_id,
            version=fact.version,
            owner=fact.owner_id,
            part=part,
            payload=payload,
            delay=delay,
        )
