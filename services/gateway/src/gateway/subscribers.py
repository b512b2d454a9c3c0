"""What the gateway hears, and what it notes of it."""

from collections.abc import Sequence

from contracts.facts import (
    DocumentChunked,
    DocumentEmbedded,
    DocumentEmbeddingProgressed,
    DocumentFailed,
    DocumentParsingStarted,
    DocumentPurged,
    DocumentReady,
    UserDeleted,
    UserPurged,
)
from contracts.topics import DOCUMENTS, USERS
from messaging.fences import Fence
from messaging.outbox import Outbox
from messaging.subscribing import Subscription
from sqlalchemy.ext.asyncio import AsyncSession

from gateway import closing, processing, receipts


def subscriptions(outbox: Outbox) -> Sequence[Subscription]:
    """Progress and receipts of documents, closures and receipts of accounts."""

    async def user_deleted(session: AsyncSession, fence: Fence, fact: UserDeleted) -> None:
        await closing.hear_deleted(session, fence, fact, outbox)

    return (
        Subscription(
            DOCUMENTS,
            {
                DocumentParsingStarted: processing.hear,
                DocumentChunked: processing.hear,
                DocumentEmbeddingProgressed: processing.hear,
                DocumentEmbedded: processing.hear,
                DocumentReady: processing.hear,
                DocumentFailed: processing.hear,
                DocumentPurged: document_purged,
            },
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
