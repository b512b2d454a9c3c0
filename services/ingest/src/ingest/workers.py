"""What ingest does: reading documents."""

from uuid import UUID

import structlog
from chassis.failures import Failure
from chassis.objects import ObjectStore
from contracts.facts import DocumentChunked, DocumentParsingStarted
from messaging.fences import Fence
from messaging.jobs import Job
from messaging.workers import Finish, Work
from sqlalchemy.ext.asyncio import AsyncSession
from stages.erasing import LONGEST_LEASE
from stages.stage import Stage

from ingest import repository
from ingest.attempts import Attempt
from ingest.orders import ParseOrder
from ingest.parsing import ParseDocument

log = structlog.stdlib.get_logger(__name__)


class Parse(Work):
    """Reads a document and splits it into chunks."""

    kind = "parse"
    light_concurrency = 4  # notes: 1.3 ms of processor time each, beside which it is stores that they wait for
    lease = LONGEST_LEASE
    max_tries = 8  # with back-off, a store may be away for a minute before a document fails for it

    def __init__(self, parse: ParseDocument, *, store: ObjectStore, stage: Stage, concurrency: int) -> None:
        self._parse = parse
        self._store = store
        self._stage = stage
        self.concurrency = concurrency

    async def begin(self, session: AsyncSession, fence: Fence, job: Job) -> None:
        del fence
        self._stage.outbox.add(
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
        found = await self._parse(_attempt(job), sha256=order.sha256)
        log.info("document split", version=job.version, pages=found.pages, chunks=found.chunk_count)

        async def finish(session: AsyncSession, fence: Fence) -> None:
            await repository.keep(session, _attempt(job), found)
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
            self._stage.conclude(session, fence, said)

        return finish

    async def give_up(self, session: AsyncSession, fence: Fence, job: Job, failure: Failure) -> None:
        asked = ParseOrder.of(job.payload).round
        await self._stage.fail(session, fence, job, failure, asked=asked)

    async def lost(self, job: Job) -> None:
        await self._store.delete(_attempt(job).chunks_key)

    async def erase_late(self, job: Job) -> None:
        await self._store.delete(_attempt(job).chunks_key)


def _attempt(job: Job) -> Attempt:
    return Attempt(owner=UUID(job.owner), document=UUID(job.subject), version=job.version, number=job.attempt)
