"""What qa holds of a document: its passages, its place among what can be found, and its words in chats."""

from uuid import UUID

from contracts.facts import DocumentFact
from messaging.fences import Fence
from sqlalchemy.ext.asyncio import AsyncSession
from stages.holdings import Holdings

from qa import repository


class SearchableDocuments(Holdings):
    """All of it is in the database: what a version had is erased in the transaction that hears that it has failed."""

    async def owner(self, session: AsyncSession, document: UUID) -> UUID | None:
        return await repository.owner(session, document)

    async def hide(self, session: AsyncSession, document: UUID) -> int:
        return await repository.hide(session, document)

    async def drop(self, session: AsyncSession, fence: Fence, fact: DocumentFact) -> None:
        if fact.version != fence.live:
            await repository.drop_version(session, fact.document_id, fact.version)

    async def erase(self, session: AsyncSession, document: UUID, *, outside: int) -> int:
        del outside
        return await repository.erase_document(session, document)

    async def count(self, session: AsyncSession, document: UUID) -> int:
        return await repository.count_document(session, document)
