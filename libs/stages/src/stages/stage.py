"""What a stage notes of facts about documents, and how it ends a version."""

from dataclasses import dataclass
from uuid import UUID

import structlog
from chassis.failures import Failure, Permanent
from contracts.facts import DocumentDeleted, DocumentFact, DocumentFailed, DocumentPurged, DocumentReady
from contracts.facts import Stage as Name
from messaging import jobs
from messaging.fences import Fence
from messaging.jobs import Job
from messaging.orders import AskedOrder
from messaging.outbox import Outbox
from sqlalchemy.ext.asyncio import AsyncSession

from stages.erasing import DROP
from stages.holdings import Holdings

log = structlog.stdlib.get_logger(__name__)


class PurgeOrder(AskedOrder):
    """`hidden` counts the rows that were erased at once, when the deletion was heard."""

    deletion_id: UUID
    hidden: int = 0


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One service's part of a document's way: it says one outcome of each version, and erases what must go."""

    name: Name
    outbox: Outbox
    holdings: Holdings
    makes: str
    """The kind of job that makes its outcome."""
    writes_too: tuple[str, ...] = ()
    """Other kinds of jobs that write what it holds."""
    purge: str = "purge"
    sweep: str = "sweep"

    @property
    def writes(self) -> tuple[str, ...]:
        return (self.makes, *self.writes_too)

    async def has_to_begin(self, session: AsyncSession, fence: Fence, fact: DocumentFact) -> bool:
        """Whether this version is new to the stage. If it is done, its outcome is said again, once a round."""
        if fact.version > 1 and await self._is_anothers(session, fact):
            return False
        fence.hear(fact.version)
        if fence.is_deleted or fact.version < fence.version:
            return False
        if said := fence.answer_round(fact):
            self.outbox.add(session, said)
        return fence.outcome_of(fact.version) is None and not fence.is_over(fact.version)

    def conclude(self, session: AsyncSession, fence: Fence, outcome: DocumentFact) -> None:
        """Say the outcome of this stage, and keep it for whoever asks again."""
        self.outbox.add(session, outcome)
        fence.conclude(outcome)

    async def fail(self, session: AsyncSession, fence: Fence, job: Job, failure: Failure, *, asked: int) -> None:
        """End the job's version as failed, in answer to the round that asked for it."""
        said = DocumentFailed(
            document_id=UUID(job.subject),
            owner_id=UUID(job.owner),
            version=job.version,
            round=asked,
            attempt=job.attempt,
            stage=self.name,
            code=failure.code,
            detail=failure.detail,
            retryable=not isinstance(failure, Permanent),
        )
        self.conclude(session, fence, said)
        await self._forget(session, fence, said)

    async def note_ready(self, session: AsyncSession, fence: Fence, fact: DocumentReady) -> None:
        """From now on nobody needs the lower versions."""
        if fact.version > 1 and await self._is_anothers(session, fact):
            return
        fence.raise_live(fact.version)
        if fact.version > 1 and not fence.is_deleted:
            await self.holdings.drop(session, fence, fact)

    async def note_failed(self, session: AsyncSession, fence: Fence, fact: DocumentFailed) -> None:
        """Another stage has failed: nobody needs our part of that version. Of our own failures we know."""
        if fact.stage != self.name and not fence.is_deleted and not await self._is_anothers(session, fact):
            await self._forget(session, fence, fact)

    async def note_deleted(self, session: AsyncSession, fence: Fence, fact: DocumentDeleted) -> None:
        """It is hidden at once; erasing it, and proving that, is work, whether we have ever heard of it or not."""
        if await self._is_anothers(session, fact):
            return
        fence.hear(fact.version)
        fence.delete()
        if isinstance(fence.outcome_of(fact.version), DocumentPurged):
            if said := fence.answer_round(fact):
                self.outbox.add(session, said)
            return
        await jobs.cancel(session, fact.document_id, kinds=[*self.writes, DROP])
        hidden = await self.holdings.hide(session, fact.document_id)
        await jobs.add(
            session,
            kind=self.purge,
            subject=fact.document_id,
            version=fact.version,
            owner=fact.owner_id,
            payload=PurgeOrder(round=fact.round, deletion_id=fact.deletion_id, hidden=hidden).to_payload(),
        )

    async def _is_anothers(self, session: AsyncSession, fact: DocumentFact) -> bool:
        """Whether what is held of the document is another owner's than the fact names: then it changes nothing.

        Nobody is asked about a first version that begins or is ready: that makes nothing useless.
        """
        owner = await self.holdings.owner(session, fact.document_id)
        if owner is None or owner == fact.owner_id:
            return False
        log.warning("a fact names another owner than the document has", type=fact.type)
        return True

    async def _forget(self, session: AsyncSession, fence: Fence, fact: DocumentFailed) -> None:
        fence.fail(fact.version)
        await jobs.cancel(session, fact.document_id, version=fact.version, kinds=[self.makes])
        await self.holdings.drop(session, fence, fact)
