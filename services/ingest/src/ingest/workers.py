"""What ingest does: reading documents, and erasing what nobody needs or may have any more."""

from datetime import timedelta
from uuid import UUID

import structlog
from chassis.database import Sessions
from chassis.failures import Failure, Permanent, Transient
from chassis.objects import ObjectStore
from contracts.facts import DocumentChunked, DocumentFailed, DocumentParsingStarted, DocumentPurged
from messaging import fences, jobs
from messaging.fences import Fence
from messaging.jobs import Job
from messaging.outbox import Outbox
from messaging.workers import Finish, Work
from sqlalchemy.ext.asyncio import AsyncSession

from ingest import repository
from ingest.chunk_files import erase_files
from ingest.erasing import add_drops, looks_again
from ingest.orders import ParseOrder, PurgeOrder
from ingest.parsing import Attempt, ParseDocument
from ingest.settings import LONGEST_LEASE
from ingest.tables import SplitVersion

log = structlog.stdlib.get_logger(__name__)


class Parse(Work):
    """Reads a document and splits it into chunks."""

    kind = "parse"
    lease = LONGEST_LEASE
    max_tries = 6  # with back-off, a store may be away for half a minute before a document fails for it

    def __init__(self, parse: ParseDocument, *, store: ObjectStore, outbox: Outbox, concurrency: int) -> None:
        self._parse = parse
        self._store = store
        self._outbox = outbox
        self.concurrency = concurrency

    async def begin(self, session: AsyncSession, fence: Fence, job: Job) -> None:
        del fence
        self._outbox.add(
            session,
            DocumentParsingStarted(
                document_id=UUID(job.subject),
                owner_id=UUID(job.owner),
                version=job.version,
                round=ParseOrder.of(job.payload).round,
                attempt=job.attempt,
            ),
        )

    async def run(self, job: Job) -> Finish:
        order = ParseOrder.of(job.payload)
        split = await self._parse(_attempt(job), sha256=order.sha256)
        found = split.extracted
        log.info("document split", version=job.version, pages=found.pages, chunks=found.chunk_count)

        async def finish(session: AsyncSession, fence: Fence) -> None:
            kept = SplitVersion(
                document_id=UUID(job.subject),
                version=job.version,
                owner_id=UUID(job.owner),
                attempt=job.attempt,
                pages=found.pages,
                chunk_count=found.chunk_count,
                chunks_sha256=found.chunks_sha256,
            )
            await repository.keep(session, kept, split.packed_rows)
            said = DocumentChunked(
                document_id=UUID(job.subject),
                owner_id=UUID(job.owner),
                version=job.version,
                round=order.round,
                attempt=job.attempt,
                chunk_count=found.chunk_count,
                pages=found.pages,
                chunks_sha256=found.chunks_sha256,
            )
            self._outbox.add(session, said)
            fence.conclude(said)

        return finish

    async def give_up(self, session: AsyncSession, fence: Fence, job: Job, failure: Failure) -> None:
        said = DocumentFailed(
            document_id=UUID(job.subject),
            owner_id=UUID(job.owner),
            version=job.version,
            round=ParseOrder.of(job.payload).round,
            attempt=job.attempt,
            stage="ingest",
            code=failure.code,
            detail=failure.detail,
            retryable=not isinstance(failure, Permanent),
        )
        self._outbox.add(session, said)
        fence.fail(job.version)
        fence.conclude(said)
        await add_drops(session, said)

    async def lost(self, job: Job) -> None:
        await self._store.delete(_attempt(job).chunks_key)

    async def erase_late(self, job: Job) -> None:
        await self._store.delete(_attempt(job).chunks_key)


class Drop(Work):
    """Erases the versions of a document that are below the one that answers, or have failed."""

    kind = "drop"
    max_tries = None
    concurrency = 2

    def __init__(self, sessions: Sessions, store: ObjectStore) -> None:
        self._sessions = sessions
        self._store = store

    async def run(self, job: Job) -> Finish:
        document = UUID(job.subject)
        async with self._sessions() as session:
            fence = await fences.read(session, job.subject)
        if fence is not None and not fence.is_deleted:
            await erase_files(self._store, UUID(job.owner), document, lambda file: fence.is_too_late(file.version))

        async def finish(session: AsyncSession, fence: Fence) -> None:
            if fence.is_deleted:
                return  # the purge erases all of it, and counts it for the receipt
            late = [number for number in await repository.versions(session, document) if fence.is_too_late(number)]
            await repository.erase(session, document, late)

        return finish


class Purge(Work):
    """Erases all that ingest has of a deleted document, and says so once nothing is left and nobody can write more."""

    kind = "purge"
    max_tries = None
    concurrency = 4
    # Whoever still works on it sees the fence within milliseconds, or has died and holds its lease for half a minute.
    backoff = timedelta(milliseconds=250)
    backoff_ceiling = timedelta(seconds=15)

    def __init__(self, sessions: Sessions, *, store: ObjectStore, outbox: Outbox) -> None:
        self._sessions = sessions
        self._store = store
        self._outbox = outbox

    async def run(self, job: Job) -> Finish:
        order = PurgeOrder.of(job.payload)
        files = await _erase_all_files(self._store, job)
        async with self._sessions() as session:
            if await jobs.has_live_lease(session, job.subject, ["parse"]):
                raise Transient("processing.busy", "Somebody may still be writing for the document.")
        # Only now is zero a proof.
        files += await _erase_all_files(self._store, job)

        async def finish(session: AsyncSession, fence: Fence) -> None:
            erased = await repository.erase(session, UUID(job.subject))
            said = DocumentPurged(
                document_id=UUID(job.subject),
                owner_id=UUID(job.owner),
                version=job.version,
                round=order.round,
                attempt=job.attempt,
                deletion_id=order.deletion_id,
                service="ingest",
                # If an earlier attempt has erased the files, the versions tell how many there were.
                erased=erased.chunks + max(files, erased.versions),
                remaining=await repository.count(session, UUID(job.subject)),
            )
            self._outbox.add(session, said)
            fence.conclude(said)
            await jobs.add_many(session, looks_again("sweep", said))

        return finish


class Sweep(Work):
    """Looks again for what was written about a deleted document, erases it, and says that it has been verified."""

    kind = "sweep"
    max_tries = None
    concurrency = 2

    def __init__(self, *, store: ObjectStore, outbox: Outbox) -> None:
        self._store = store
        self._outbox = outbox

    async def run(self, job: Job) -> Finish:
        files = await _erase_all_files(self._store, job)

        async def finish(session: AsyncSession, fence: Fence) -> None:
            late = await repository.erase(session, UUID(job.subject))
            purged = fence.outcome_of(job.version)
            assert isinstance(purged, DocumentPurged)
            erased = purged.erased + late.chunks + max(files, late.versions)
            said = purged.model_copy(update={"erased": erased, "verified": True})
            self._outbox.add(session, said)
            fence.conclude(said)

        return finish


def _attempt(job: Job) -> Attempt:
    return Attempt(owner=UUID(job.owner), document=UUID(job.subject), version=job.version, number=job.attempt)


async def _erase_all_files(store: ObjectStore, job: Job) -> int:
    """Erase every chunks file of the document. Raises `Transient` if one is still there afterwards."""
    erased = await erase_files(store, UUID(job.owner), UUID(job.subject))
    if erased and await erase_files(store, UUID(job.owner), UUID(job.subject)):
        raise Transient("processing.busy", "A file of the document came back.")
    return erased
