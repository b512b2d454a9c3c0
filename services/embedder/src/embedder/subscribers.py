"""What the embedder hears, and what it notes of it."""

from contracts.facts import (
    DocumentChunked,
    DocumentDeleted,
    DocumentFailed,
    DocumentPurged,
    DocumentReady,
)
from contracts.topics import DOCUMENTS
from messaging import jobs
from messaging.fences import Fence
from messaging.jobs import NewJob
from messaging.outbox import Outbox
from messaging.subscribing import Subscription
from sqlalchemy.ext.asyncio import AsyncSession

from embedder import repository
from embedder.embedding import embedded_fact
from embedder.erasing import add_drops
from embedder.orders import PurgeOrder

JOBS_AT_ONCE = 2000
"""Jobs in one statement: PostgreSQL takes 32,767 values."""


class Subscribers:
    """Handlers of facts about documents."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    async def note_chunked(self, session: AsyncSession, fence: Fence, fact: DocumentChunked) -> None:
        """A version that is new gets its batches; one that is done, in a new round, gets its outcome said again."""
        fence.hear(fact.version)
        if fence.is_deleted or fact.version < fence.version:
            return
        if said := fence.answer_round(fact):
            self._outbox.add(session, said)
        elif fence.outcome_of(fact.version) is None and not fence.is_over(fact.version):
            await self._cut(session, fence, fact)

    async def note_ready(self, session: AsyncSession, fence: Fence, fact: DocumentReady) -> None:
        """From now on nobody needs the lower versions."""
        fence.raise_live(fact.version)
        if fact.version > 1 and not fence.is_deleted:
            await add_drops(session, fact)

    async def note_failed(self, session: AsyncSession, fence: Fence, fact: DocumentFailed) -> None:
        """Another stage has failed: nobody needs our part of that version. Of our own failures we know."""
        if fact.stage == "embedder" or fence.is_deleted:
            return
        fence.fail(fact.version)
        await jobs.cancel(session, fact.document_id, version=fact.version, kinds=["embed"])
        await add_drops(session, fact)

    async def note_deleted(self, session: AsyncSession, fence: Fence, fact: DocumentDeleted) -> None:
        """Everything of it is to be erased, whether we have ever heard of it or not."""
        fence.hear(fact.version)
        fence.delete()
        if isinstance(fence.outcome_of(fact.version), DocumentPurged):
            if said := fence.answer_round(fact):
                self._outbox.add(session, said)
            return
        await jobs.cancel(session, fact.document_id, kinds=["embed", "drop", "rebuild"])
        await jobs.add(
            session,
            kind="purge",
            subject=fact.document_id,
            version=fact.version,
            owner=fact.owner_id,
            payload=PurgeOrder(round=fact.round, deletion_id=fact.deletion_id).to_payload(),
        )

    def subscriptions(self) -> list[Subscription]:
        return [
            Subscription(
                DOCUMENTS,
                {
                    DocumentChunked: self.note_chunked,
                    DocumentReady: self.note_ready,
                    DocumentFailed: self.note_failed,
                    DocumentDeleted: self.note_deleted,
                },
            )
        ]

    async def _cut(self, session: AsyncSession, fence: Fence, fact: DocumentChunked) -> None:
        """The version's batches, all in this transaction: batch k holds the ordinals [64k, 64k + 64)."""
        run = await repository.begin_run(session, fact)
        if run is None:
            return
        if not run.total:
            said = await embedded_fact(session, run)
            self._outbox.add(session, said)
            fence.conclude(said)
        batches = range(run.total)
        for start in range(0, run.total, JOBS_AT_ONCE):
            await jobs.add_many(
                session,
                [
                    NewJob(kind="embed", subject=run.document_id, version=run.version, owner=run.owner_id, part=part)
                    for part in batches[start : start + JOBS_AT_ONCE]
                ],
            )
