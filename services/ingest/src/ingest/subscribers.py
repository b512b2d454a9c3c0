"""What ingest hears, and what it notes of it."""

from contracts.facts import DocumentDeleted, DocumentFailed, DocumentReady, DocumentUploaded
from contracts.topics import DOCUMENTS
from messaging import jobs
from messaging.fences import Fence
from messaging.subscribing import Subscription
from sqlalchemy.ext.asyncio import AsyncSession
from stages.stage import Stage

from ingest.orders import ParseOrder
from ingest.settings import IngestSettings


class Subscribers:
    """Handlers of facts about documents."""

    def __init__(self, stage: Stage, settings: IngestSettings) -> None:
        self._stage = stage
        self._settings = settings

    async def note_uploaded(self, session: AsyncSession, fence: Fence, fact: DocumentUploaded) -> None:
        """A version that is new gets its job."""
        if await self._stage.has_to_begin(session, fence, fact):
            await jobs.add(
                session,
                kind=self._stage.makes,
                subject=fact.document_id,
                version=fact.version,
                owner=fact.owner_id,
                payload=ParseOrder(round=fact.round, sha256=fact.sha256).to_payload(),
                light=self._settings.is_note(fact.media_type, fact.size_bytes),
            )

    def subscriptions(self) -> list[Subscription]:
        return [
            Subscription(
                DOCUMENTS,
                {
                    DocumentUploaded: self.note_uploaded,
                    DocumentReady: self._stage.note_ready,
                    DocumentFailed: self._stage.note_failed,
                    DocumentDeleted: self._stage.note_deleted,
                },
                unhurried=[DocumentReady],  # what it makes superfluous is in nobody's way
            )
        ]
