"""What ingest holds of a document: its versions with their chunks' places, and a chunks file for each."""

from uuid import UUID

from chassis.failures import Transient
from chassis.objects import ObjectStore
from messaging.fences import Fence
from sqlalchemy.ext.asyncio import AsyncSession
from stages.holdings import Holdings

from ingest import repository
from ingest.chunk_files import erase_files


class SplitDocuments(Holdings):
    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def owner(self, session: AsyncSession, document: UUID) -> UUID | None:
        return await repository.owner(session, document)

    async def erase_outside(self, owner: UUID, document: UUID) -> int:
        erased = await erase_files(self._store, owner, document)
        if erased and await erase_files(self._store, owner, document):
            raise Transient("processing.busy", "A file of the document came back.")
        return erased

    async def erase(self, session: AsyncSession, document: UUID, *, outside: int) -> int:
        erased = await repository.erase(session, document)
        return erased.chunks + max(outside, erased.versions)

    async def count(self, session: AsyncSession, document: UUID) -> int:
        return await repository.count(session, document)

    async def erase_late_outside(self, fence: Fence, owner: UUID, document: UUID) -> None:
        await erase_files(self._store, owner, document, lambda file: fence.is_too_late(file.version))

    async def erase_late(self, session: AsyncSession, fence: Fence, document: UUID) -> None:
        late = [number for number in await repository.versions(session, document) if fence.is_too_late(number)]
        await repository.erase(session, document, late)
