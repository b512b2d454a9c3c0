"""What differs from stage to stage: what it holds of a document, and how that is erased."""

from abc import ABC, abstractmethod
from uuid import UUID

from contracts.facts import DocumentFact
from messaging.fences import Fence
from sqlalchemy.ext.asyncio import AsyncSession

from stages.erasing import note_drops


class Holdings(ABC):
    """What one stage holds of documents, in its database and outside. Erasing is harmless where nothing is left."""

    async def hide(self, session: AsyncSession, document: UUID) -> int:
        """Called in the transaction that hears of the deletion. Gives the number of rows that this has erased."""
        del session, document
        return 0

    async def drop(self, session: AsyncSession, fence: Fence, fact: DocumentFact) -> None:
        """Called in the transaction in which this fact makes versions useless; the jobs noted here are for `Drop`."""
        del fence
        await note_drops(session, fact)

    @abstractmethod
    async def owner(self, session: AsyncSession, document: UUID) -> UUID | None:
        """Whose file that was of which something is held; None as long as nothing is. What a fact says is no proof."""

    async def is_written_for_others(self, session: AsyncSession, owner: UUID) -> bool:
        """Whether somebody who works for another document may be writing what belongs to one of this owner's."""
        del session, owner
        return False

    async def erase_outside(self, owner: UUID, document: UUID) -> int:
        """Erase all of it outside the database and find nothing left. Gives how much there was."""
        del owner, document
        return 0

    async def erase_late_outside(self, fence: Fence, owner: UUID, document: UUID) -> None:  # noqa: B027 - as above
        """Erase, outside the database, the versions that are too late by this fence."""

    async def erase_late(self, session: AsyncSession, fence: Fence, document: UUID) -> None:  # noqa: B027 - as above
        """Erase, in the database, the versions that are too late by this fence."""

    @abstractmethod
    async def erase(self, session: AsyncSession, document: UUID, *, outside: int) -> int:
        """Erase all of it in the database. Gives how much there was, together with what was erased `outside`.

        If an earlier attempt has erased that, the rows tell how much it was.
        """

    @abstractmethod
    async def count(self, session: AsyncSession, document: UUID) -> int:
        """How much of it is left in the database."""
