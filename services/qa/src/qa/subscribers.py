"""What qa hears, and what it notes of it."""

from contracts.facts import (
    DocumentChunked,
    DocumentDeleted,
    DocumentEmbedded,
    DocumentFailed,
    Fact,
    IndexActivated,
    UserDeleted,
)
from contracts.topics import DOCUMENTS, INDEXES, USERS
from messaging import jobs
from messaging.fences import Fence
from messaging.subscribing import Subscription
from sqlalchemy.ext.asyncio import AsyncSession
from stages.stage import PurgeOrder, Stage

from qa import active_index
from qa.indexing import COPY_EARLY, is_worth_copying_early
from qa.orders import CopyOrder, IndexOrder
from qa.workers import PurgeUser


class Subscribers:
    """Handlers of facts about documents, accounts and indexes."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    async def note_chunked(self, session: AsyncSession, fence: Fence, fact: DocumentChunked) -> None:
        """The passages of a long document are copied while its vectors are being made."""
        if not fence.is_over(fact.version) and fence.outcome_of(fact.version) is None:
            order = CopyOrder(attempt=fact.attempt, chunk_count=fact.chunk_count, chunks_sha256=fact.chunks_sha256)
            await jobs.add(
                session,
                kind=COPY_EARLY,
                subject=fact.document_id,
                version=fact.version,
                owner=fact.owner_id,
                payload=order.to_payload(),
            )

    async def note_embedded(self, session: AsyncSession, fence: Fence, fact: DocumentEmbedded) -> None:
        """A version whose vectors are stored gets its job."""
        if await self._stage.has_to_begin(session, fence, fact):
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
                kind=self._stage.makes,
                subject=fact.document_id,
                version=fact.version,
                owner=fact.owner_id,
                payload=order.to_payload(),
            )

    async def note_user_deleted(self, session: AsyncSession, fence: Fence, fact: UserDeleted) -> None:
        """No session, question or answer of this account is stored any more; what there is, is erased."""
        fence.delete()
        if said := fence.answer_round(fact):
            self._stage.outbox.add(session, said)
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
                    DocumentChunked: self.note_chunked,
                    DocumentEmbedded: self.note_embedded,
                    DocumentFailed: self._stage.note_failed,
                    DocumentDeleted: self._stage.note_deleted,
                },
                passes_by=_is_short,
            ),
            Subscription(USERS, {UserDeleted: self.note_user_deleted}),
            Subscription(INDEXES, {IndexActivated: self.note_activated}),
        ]


def _is_short(fact: Fact) -> bool:
    return isinstance(fact, DocumentChunked) and not is_worth_copying_early(fact.chunk_count)
