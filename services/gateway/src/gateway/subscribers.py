"""What the gateway hears, and what it notes of it."""

from collections.abc import Sequence

from contracts.facts import (
    DocumentChunked,
    DocumentEmbedded,
    DocumentEmbeddingProgressed,
    DocumentFact,
    DocumentFailed,
    DocumentParsingStarted,
    DocumentPurged,
    DocumentReady,
    Fact,
    UserDeleted,
    UserPurged,
)
from contracts.topics import DOCUMENTS, USERS
from messaging.fences import Fence
from messaging.outbox import Outbox
from messaging.subscribing import Subscription, Together
from sqlalchemy.ext.asyncio import AsyncSession

from gateway import closing, processing, receipts


def subscriptions(outbox: Outbox) -> Sequence[Subscription]:
    """Progress and receipts of documents, closures and receipts of accounts."""

    async def user_deleted(session: AsyncSession, fence: Fence, fact: UserDeleted) -> None:
        await closing.hear_deleted(session, fence, fact, outbox)

    progress = Together(processing.hear)
    return (
        Subscription(
            DOCUMENTS,
            {
                DocumentParsingStarted: progress,
                DocumentChunked: progress,
                DocumentEmbeddingProgressed: progress,
                DocumentEmbedded: progress,
                DocumentReady: progress,
                DocumentFailed: progress,
                DocumentPurged: document_purged,
            },
            unhurried=[DocumentParsingStarted, DocumentChunked, DocumentEmbeddingProgressed, DocumentEmbedded],
            turn=_owner,
        ),
        Subscription(USERS, {UserDeleted: user_deleted, UserPurged: user_purged}),
    )


async def document_purged(session: AsyncSession, _fence: Fence, fact: DocumentPurged) -> None:
    """One store's receipt."""
    await receipts.enter(session, fact)


async def user_purged(session: AsyncSession, _fence: Fence, fact: UserPurged) -> None:
    """One service's receipt for an account."""
    await receipts.enter_account(
        session, fact.deletion_id, store=fact.service, erased=fact.erased, remaining=fact.remaining
    )


def _owner(fact: Fact) -> str:
    """An owner's row is the last lock of what is noted of a document; whoever takes several does so in one order."""
    return str(fact.owner_id) if isinstance(fact, DocumentFact) else fact.subject
