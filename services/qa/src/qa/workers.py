"""What qa does: making documents searchable, and erasing the chats of closed accounts."""

from uuid import UUID

from chassis.failures import Failure
from chassis.transactions import Transactions
from contracts.facts import DocumentReady, UserPurged
from contracts.topics import USERS
from messaging import fences
from messaging.fences import Fence
from messaging.jobs import Job
from messaging.outbox import Outbox
from messaging.workers import Finish, Work
from sqlalchemy.ext.asyncio import AsyncSession
from stages.erasing import LONGEST_LEASE
from stages.stage import PurgeOrder, Stage

from qa import repository
from qa.indexing import COPY_EARLY, ActiveIndexWait, Copied, CopyPassages, is_wanted
from qa.orders import CopyOrder, IndexOrder
from qa.repository import DocumentVersion


class WritesPassages(Work):
    """What is the same for all work that writes a document's passages."""

    lease = LONGEST_LEASE

    def __init__(self, transactions: Transactions, copy: CopyPassages) -> None:
        self._transactions = transactions
        self._copy = copy

    async def erase_late(self, job: Job) -> None:
        of = _version(job)
        async with self._transactions.begin() as session:
            fence = await fences.lock(session, job.subject)
            if fence.is_too_late(job.version):
                await repository.drop_version(session, of.document, of.version)


class CopyEarly(WritesPassages):
    """Copies a document's passages while its vectors are being made. What it does not do `IndexPassages` does."""

    kind = COPY_EARLY
    max_tries = 1

    async def run(self, job: Job) -> Finish:
        copied = await self._copy(_version(job), CopyOrder.of(job.payload))

        async def finish(session: AsyncSession, fence: Fence) -> None:
            if copied is not None and is_wanted(fence, job.version):
                await repository.copy_passages(session, _version(job), copied.last)

        return finish


class IndexPassages(WritesPassages):
    """Copies what is left of a document's passages; its final transaction makes the version answer, and says so."""

    kind = "index_passages"
    max_tries = 8  # with back-off, a store may be away for a minute before a document fails for it

    def __init__(
        self, transactions: Transactions, *, copy: CopyPassages, wait: ActiveIndexWait, stage: Stage, concurrency: int
    ) -> None:
        super().__init__(transactions, copy)
        self._wait = wait
        self._stage = stage
        self.concurrency = concurrency

    async def run(self, job: Job) -> Finish:
        order = IndexOrder.of(job.payload)
        copied = await self._copy.rest(_version(job), order)
        await self._wait(order.indexes)

        async def finish(session: AsyncSession, fence: Fence) -> None:
            if copied is not None and is_wanted(fence, job.version):
                await self._make_searchable(session, fence, job, order=order, copied=copied)

        return finish

    async def give_up(self, session: AsyncSession, fence: Fence, job: Job, failure: Failure) -> None:
        asked = IndexOrder.of(job.payload).round
        await self._stage.fail(session, fence, job, failure, asked=asked)

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
        self._stage.conclude(session, fence, said)


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
