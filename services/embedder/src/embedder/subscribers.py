"""What the embedder hears, and what it notes of it."""

from contracts.facts import DocumentChunked, DocumentDeleted, DocumentFailed, DocumentReady
from contracts.topics import DOCUMENTS
from messaging import jobs
from messaging.fences import Fence
from messaging.jobs import NewJob
from messaging.subscribing import Subscription
from models.local import FEW_TEXTS
from sqlalchemy.ext.asyncio import AsyncSession
from stages.stage import Stage

from embedder import indexes, repository
from embedder.embedding import embedded_fact


class Subscribers:
    """Handlers of facts about documents."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    async def note_chunked(self, session: AsyncSession, fence: Fence, fact: DocumentChunked) -> None:
        """A version that is new gets its batches."""
        if await self._stage.has_to_begin(session, fence, fact):
            await self._cut(session, fence, fact)

    def subscriptions(self) -> list[Subscription]:
        return [
            Subscription(
                DOCUMENTS,
                {
                    DocumentChunked: self.note_chunked,
                    DocumentReady: self._stage.note_ready,
                    DocumentFailed: self._stage.note_failed,
                    DocumentDeleted: self._stage.note_deleted,
                },
                unhurried=[DocumentReady],  # what it makes superfluous is in nobody's way
            )
        ]

    async def _cut(self, session: AsyncSession, fence: Fence, fact: DocumentChunked) -> None:
        """The version's batches, all in this transaction: batch k holds the ordinals [64k, 64k + 64)."""
        run = await repository.begin_run(session, fact)
        if run is None:
            return
        if not run.total:
            written = [index.index_id for index in await indexes.written(session)]
            self._stage.conclude(session, fence, embedded_fact(run, written))
        kind = self._stage.makes
        await jobs.add_many(
            session,
            [
                NewJob(
                    kind=kind,
                    subject=run.document_id,
                    version=run.version,
                    owner=run.owner_id,
                    part=part,
                    light=run.chunks_in(part) <= FEW_TEXTS,
                )
                for part in range(run.total)
            ],
        )
