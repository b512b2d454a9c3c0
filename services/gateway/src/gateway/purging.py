"""Erasing the gateway's own store, the object store: at once, and again when a late writer may have passed by."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from chassis.database import Sessions
from chassis.failures import Transient
from chassis.objects import ObjectStore
from contracts.facts import DocumentPurged
from contracts.objects import document_prefix
from messaging import jobs
from messaging.fences import Fence
from messaging.jobs import Job, NewJob
from messaging.outbox import Outbox
from messaging.workers import Finish, Work
from pydantic import BaseModel, ConfigDict
from sqlalchemy import func, update
from sqlalchemy.ext.asyncio import AsyncSession

from gateway import receipts
from gateway.deleting import PURGE
from gateway.tables import DeletionRow

SWEEP = "sweep"
"""The kind of job that counts a document's objects again."""


class _Payload(BaseModel):
    model_config = ConfigDict(frozen=True)

    deletion_id: UUID


class Purge(Work):
    """Erases everything under a document's prefix, counts to zero, and says so."""

    kind = PURGE
    concurrency = 4
    max_tries = None

    def __init__(self, *, sessions: Sessions, store: ObjectStore, outbox: Outbox, sweeps: Sequence[timedelta]) -> None:
        self._sessions = sessions
        self._store = store
        self._outbox = outbox
        self._sweeps = sweeps

    async def run(self, job: Job) -> Finish:
        deletion = _Payload.model_validate(job.payload).deletion_id
        prefix = document_prefix(UUID(job.owner), UUID(job.subject))
        found = await self._remember_found(deletion, await count(self._store, prefix))
        await erase(self._store, prefix)
        fact = purged(job, deletion, erased=found)

        async def finish(session: AsyncSession, fence: Fence) -> None:
            fence.conclude(fact)
            self._outbox.add(session, fact)
            await receipts.enter(session, fact)
            await jobs.add_many(session, self._later(job))

        return finish

    async def _remember_found(self, deletion: UUID, found: int) -> int:
        """What there was before erasing began, also if this is not the first try."""
        async with self._sessions.begin() as session:
            first = await session.scalar(
                update(DeletionRow)
                .where(DeletionRow.id == deletion)
                .values(found=func.coalesce(DeletionRow.found, found))
                .returning(DeletionRow.found)
            )
        return first or 0

    def _later(self, job: Job) -> list[NewJob]:
        return [
            NewJob(
                kind=SWEEP,
                subject=job.subject,
                version=job.version,
                part=part,
                owner=job.owner,
                payload=job.payload,
                delay=delay,
            )
            for part, delay in enumerate(self._sweeps)
        ]


class Sweep(Work):
    """Looks again after a deletion: erases what came late, and says that the store was counted once more."""

    kind = SWEEP
    max_tries = None

    def __init__(self, *, store: ObjectStore, outbox: Outbox) -> None:
        self._store = store
        self._outbox = outbox

    async def run(self, job: Job) -> Finish:
        deletion = _Payload.model_validate(job.payload).deletion_id
        late = await erase(self._store, document_prefix(UUID(job.owner), UUID(job.subject)))
        fact = purged(job, deletion, erased=late, verified=True)

        async def finish(session: AsyncSession, _fence: Fence) -> None:
            self._outbox.add(session, fact)
            await receipts.enter(session, fact)

        return finish


async def count(store: ObjectStore, prefix: str) -> int:
    """How many objects there are under the prefix."""
    return len([found.key async for found in store.list(prefix)])


async def erase(store: ObjectStore, prefix: str) -> int:
    """Remove everything under the prefix and count to zero; how many there were. Raises `Transient` if some remain."""
    erased = await store.delete_prefix(prefix)
    if remaining := await count(store, prefix):
        raise Transient("storage.not_erased", f"{remaining} objects are still there after erasing.")
    return erased


def purged(job: Job, deletion: UUID, *, erased: int, verified: bool = False) -> DocumentPurged:
    """The fact that this store holds nothing of the document any more."""
    return DocumentPurged(
        document_id=UUID(job.subject),
        owner_id=UUID(job.owner),
        version=job.version,
        attempt=job.attempt,
        deletion_id=deletion,
        service="gateway",
        erased=erased,
        remaining=0,
        verified=verified,
    )
