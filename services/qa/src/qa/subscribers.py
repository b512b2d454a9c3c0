"""What qa hears, and what it notes of it."""

from contracts.facts import (
    DocumentDeleted,
    DocumentEmbedded,
    DocumentFailed,
    DocumentPurged,
    IndexActivated,
    UserDeleted,
)
from contracts.topics import DOCUMENTS, INDEXES, USERS
from messaging import jobs
from messaging.fences import Fence
from messaging.outbox import Outbox
from messaging.subscribing import Subscription
from sqlalchemy.ext.asyncio import AsyncSession

from qa import active_index, repository
from qa.orders import IndexOrder, PurgeOrder
from qa.workers import IndexPassages, PurgeDocument, PurgeUser


class Subscribers:
    """Handlers of facts about documents, accounts and indexes."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    async def note_embedded(self, session: AsyncSession, fence: Fence, fact: DocumentEmbedded) -> None:
        """A version whose vectors are stored gets its job; one that is done, in a new round, is said again."""
        fence.hear(fact.version)
        if fence.is_deleted or fact.version < fence.version:
            return
        if said := fence.answer_round(fact):
            self._outbox.add(session, said)
        elif fence.outcome_of(fact.version) is None and not fence.is_over(fact.version):
            order = IndexOrder(
                round=fact.round,
                attempt=fact.attempt,
                chunk_count=fact.chunk_count,
                pages=fact.pages,
                chunks_sha256=fact.chunks_sha256,
                indexes=fact.indexes,
            )
            await jobs.add(
                session,
                kind=IndexPassages.kind,
                subject=fact.document_id,
                version=fact.version,
                owner=fact.owner_id,
                payload=order.to_payload(),
            )

    async def note_failed(self, session: AsyncSession, fence: Fence, fact: DocumentFailed) -> None:
        """An earlier stage has failed: what we may have of that version goes. Of our own failures we know."""
        if fact.stage == "qa" or fence.is_deleted:
            return
        fence.fail(fact.version)
        await jobs.cancel(session, fact.document_id, version=fact.version, kinds=[IndexPassages.kind])
        if fact.version != fence.live:
            await repository.drop_version(session, fact.document_id, fact.version)

    async def note_deleted(self, session: AsyncSession, fence: Fence, fact: DocumentDeleted) -> None:
        """It is hidden at once; erasing it, and proving that, is work, whether we have ever heard of it or not."""
        fence.hear(fact.version)
        fence.delete()
        if isinstance(fence.outcome_of(fact.version), DocumentPurged):
            if said := fence.answer_round(fact):
                self._outbox.add(session, said)
            return
        await jobs.cancel(session, fact.document_id, kinds=[IndexPassages.kind])
        hidden = await repository.hide(session, fact.document_id)
        await jobs.add(
            session,
            kind=PurgeDocument.kind,
            subject=fact.document_id,
            version=fact.version,
            owner=fact.owner_id,
            payload=PurgeOrder(round=fact.round, deletion_id=fact.deletion_id, hidden=hidden).to_payload(),
        )

    async def note_user_deleted(self, session: AsyncSession, fence: Fence, fact: UserDeleted) -> None:
        """No session, question or answer of this account is stored any more; what there is, is erased."""
        fence.delete()
        if said := fence.answer_round(fact):
            self._outbox.add(session, said)
            return
        await jobs.add(
            session,
            kind=PurgeUser.kind,
            subject=fact.user_id,
            version=0,
            owner=fact.user_id,
            payload=PurgeOrder(round=fact.round, deletion_id=fact.deletion_id).to_payload(),
        )

    async def note_activated(self, session: AsyncSession, fence: Fence, fact: IndexActivated) -> None:
        """The index with the highest generation is the one that is asked."""
        del fence
        await active_index.keep(session, fact)

    def subscriptions(self) -> list[Subscription]:
        return [
            Subscription(
                DOCUMENTS,
                {
                    DocumentEmbedded: self.note_embedded,
                    DocumentFailed: self.note_failed,
                    DocumentDeleted: self.note_deleted,
                },
            ),
            Subscription(USERS, {UserDeleted: self.note_user_deleted}),
            Subscription(INDEXES, {IndexActivated: self.note_activated}),
        ]
