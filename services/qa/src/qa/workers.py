"""What qa does: making documents searchable, and erasing what is deleted."""

from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

from chassis.database import Sessions
from chassis.failures import Failure, Permanent, Transient
from contracts.facts import DocumentFailed, DocumentPurged, DocumentReady, UserPurged
from contracts.topics import USERS
from messaging import fences, jobs
from messaging.fences import Fence
from messaging.jobs import Job, NewJob
from messaging.outbox import Outbox
from messaging.workers import Finish, Work
from sqlalchemy.ext.asyncio import AsyncSession

from qa import repository
from qa.indexing import ActiveIndexWait, Copied, CopyPassages
from qa.orders import IndexOrder, PurgeOrder
from qa.repository import DocumentVersion

LEASE = timedelta(seconds=30)

LOOK_AGAIN = (LEASE + timedelta(seconds=5), timedelta(hours=1), timedelta(days=1))
"""When the sweeper looks for what a worker that was thought dead has written: after its lease, and twice more."""


class IndexPassages(Work):
    """Copies a document's passages; its final transaction makes the version answer, and says so."""

    kind = "index_passages"
    lease = LEASE
    max_tries = 6  # with back-off, a store may be away for half a minute before a document fails for it

    def __init__(
        self, sessions: Sessions, *, copy: CopyPassages, wait: ActiveIndexWait, outbox: Outbox, concurrency: int
    ) -> None:
        self._sessions = sessions
        self._copy = copy
        self._wait = wait
        self._outbox = outbox
        self.concurrency = concurrency

    async def run(self, job: Job) -> Finish:
        order = IndexOrder.of(job.payload)
        copied = await self._copy(_version(job), order)
        await self._wait(order.indexes)

        async def finish(session: AsyncSession, fence: Fence) -> None:
            if copied is not None and not fence.is_too_late(job.version):
                await self._make_searchable(session, fence, job, order=order, copied=copied)

        return finish

    async def give_up(self, session: AsyncSession, fence: Fence, job: Job, failure: Failure) -> None:
        of = _version(job)
        said = DocumentFailed(
            document_id=of.document,
            owner_id=of.owner,
            version=of.version,
            round=IndexOrder.of(job.payload).round,
            attempt=job.attempt,
            stage="qa",
            code=failure.code,
            detail=failure.detail,
            retryable=not isinstance(failure, Permanent),
        )
        self._outbox.add(session, said)
        fence.fail(job.version)
        fence.conclude(said)
        await repository.drop_version(session, of.document, of.version)

    async def erase_late(self, job: Job) -> None:
        of = _version(job)
        async with self._sessions.begin() as session:
            fence = await fences.lock(session, job.subject)
            if fence.is_too_late(job.version):
                await repository.drop_version(session, of.document, of.version)

    async def _make_searchable(
        self, session: AsyncSession, fence: Fence, job: Job, *, order: IndexOrder, copied: Copied
    ) -> None:
        of = _version(job)
        await repository.copy_passages(session, of, copied.last)
        await repository.make_searchable(
            session, of, filename=copied.header.filename, pages=order.pages, chunk_count=order.chunk_count
        )
        said = DocumentReady(
            document_id=of.document,
            owner_id=of.owner,
            version=of.version,
            round=order.round,
            attempt=job.attempt,
            chunk_count=order.chunk_count,
            pages=order.pages,
        )
        fence.raise_live(of.version)
        self._outbox.add(session, said)
        fence.conclude(said)


class PurgeDocument(Work):
    """Erases all that qa has of a deleted document, and says so once nothing is left and nobody can write more."""

    kind = "purge_document"
    max_tries = None
    concurrency = 2
    # Whoever still works on it sees the fence within milliseconds.
    backoff = timedelta(milliseconds=250)

    def __init__(self, sessions: Sessions, outbox: Outbox) -> None:
        self._sessions = sessions
        self._outbox = outbox

    async def run(self, job: Job) -> Finish:
        order = PurgeOrder.of(job.payload)
        async with self._sessions() as session:
            if await jobs.has_live_lease(session, job.subject, [IndexPassages.kind]):
                raise Transient("processing.busy", "Somebody may still be writing for the document.")

        async def finish(session: AsyncSession, fence: Fence) -> None:
            erased = await repository.erase_document(session, UUID(job.subject))
            said = DocumentPurged(
                document_id=UUID(job.subject),
                owner_id=UUID(job.owner),
                version=job.version,
                round=order.round,
                attempt=job.attempt,
                deletion_id=order.deletion_id,
                service="qa",
                erased=order.hidden + erased,
                remaining=await repository.count_document(session, UUID(job.subject)),
            )
            self._outbox.add(session, said)
            fence.conclude(said)
            await jobs.add_many(session, _sweeps(job))

        return finish


class SweepDocument(Work):
    """Looks again for what was written about a deleted document, erases it, and says that it has been verified."""

    kind = "sweep_document"
    max_tries = None

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    async def run(self, job: Job) -> Finish:
        async def finish(session: AsyncSession, fence: Fence) -> None:
            late = await repository.erase_document(session, UUID(job.subject))
            remaining = await repository.count_document(session, UUID(job.subject))
            purged = fence.outcome_of(job.version)
            assert isinstance(purged, DocumentPurged)
            said = purged.model_copy(update={"erased": purged.erased + late, "remaining": remaining, "verified": True})
            self._outbox.add(session, said)
            fence.conclude(said)

        return finish


class PurgeUser(Work):
    """Erases the chats of a closed account, and says so; its documents are deleted one by one."""

    kind = "purge_user"
    about = USERS.key
    max_tries = None

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    async def run(self, job: Job) -> Finish:
        order = PurgeOrder.of(job.payload)

        async def finish(session: AsyncSession, fence: Fence) -> None:
            user = UUID(job.subject)
            erased = await repository.erase_chats(session, user)
            said = UserPurged(
                user_id=user,
                deletion_id=order.deletion_id,
                round=order.round,
                service="qa",
                erased=erased,
                remaining=await repository.count_chats(session, user),
            )
            self._outbox.add(session, said)
            fence.conclude(said)

        return finish


def _version(job: Job) -> DocumentVersion:
    return DocumentVersion(owner=UUID(job.owner), document=UUID(job.subject), version=job.version)


def _sweeps(job: Job) -> Iterator[NewJob]:
    for part, delay in enumerate(LOOK_AGAIN, start=1):
        yield NewJob(
            kind=SweepDocument.kind, subject=job.subject, version=job.version, owner=job.owner, part=part, delay=delay
        )
