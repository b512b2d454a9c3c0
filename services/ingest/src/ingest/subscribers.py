"""What ingest hears, and what it notes of it."""

from contracts.facts import DocumentDeleted, DocumentFailed, DocumentPurged, DocumentReady, DocumentUploaded
from contracts.topics import DOCUMENTS
from messaging import jobs
from messaging.fences import Fence
from messaging.outbox import Outbox
from messaging.subscribing import Subscription
from sqlalchemy.ext.asyncio import AsyncSession

from ingest.erasing import add_drops
from ingest.orders import ParseOrder, PurgeOrder


class Subscribers:
    """Handlers of facts about documents."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    async def note_uploaded(self, session: AsyncSession, fence: Fence, fact: DocumentUploaded) -> None:
        """A version that is new gets its job; one that is done, in a new round, gets its outcome said again."""
        fence.hear(fact.version)
        if fence.is_deleted or fact.version < fence.version:
            return
        if said := fence.answer_round(fact):
            self._outbox.add(session, said)
        elif fence.outcome_of(fact.version) is None and not fence.is_over(fact.version):
            await jobs.add(
                session,
                kind="parse",
                subject=fact.document_id,
                version=fact.version,
                owner=fact.owner_id,
                payload=ParseOrder(round=fact.round, sha256=fact.sha256).to_payload(),
            )

    async def note_ready(self, session: AsyncSession, fence: Fence, fact: DocumentReady) -> None:
        """From now on nobody needs the lower versions."""
        fence.raise_live(fact.version)
        if fact.version > 1 and not fence.is_deleted:
            await add_drops(session, fact)

    async def note_failed(self, session: AsyncSession, fence: Fence, fact: DocumentFailed) -> None:
        """A later stage has failed: nobody needs our part of that version. Of our own failures we know."""
        if fact.stage == "ingest" or fence.is_deleted:
            return
        fence.fail(fact.version)
        await jobs.cancel(session, fact.document_id, version=fact.version, kinds=["parse"])
        await add_drops(session, fact)

    async def note_deleted(self, session: AsyncSession, fence: Fence, fact: DocumentDeleted) -> None:
        """Everything of it is to be erased, whether we have ever heard of it or not."""
        fence.hear(fact.version)
        fence.delete()
        if isinstance(fence.outcome_of(fact.version), DocumentPurged):
            if said := fence.answer_round(fact):
                self._outbox.add(session, said)
            return
        await jobs.cancel(session, fact.document_id, kinds=["parse", "drop"])
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
                    DocumentUploaded: self.note_uploaded,
                    DocumentReady: self.note_ready,
                    DocumentFailed: self.note_failed,
                    DocumentDeleted: self.note_deleted,
                },
            )
        ]
