"""How long a document took, stage by stage, as its timeline tells."""

from datetime import datetime

from chassis import metrics
from chassis.transactions import driver_of
from contracts.facts import DocumentChunked, DocumentEmbedded, DocumentReady, DocumentUploaded
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.tables import DocumentRow

STAGES = {
    "ingest": (DocumentUploaded.type, DocumentChunked.type),
    "embedder": (DocumentChunked.type, DocumentEmbedded.type),
    "qa": (DocumentEmbedded.type, DocumentReady.type),
}
"""From which step to which one each stage has it."""


_STEPS = "SELECT fact, min(at) AS at FROM document_events WHERE document_id = $1 AND version = $2 GROUP BY fact"


async def measure(session: AsyncSession, row: DocumentRow) -> None:
    """Once a version is ready. A step that was not heard in its order is left out."""
    steps = await (await driver_of(session)).fetch(_STEPS, row.id, row.version)
    at: dict[str, datetime] = {step["fact"]: step["at"] for step in steps}
    for stage, (first, last) in STAGES.items():
        if first in at and last in at and at[first] <= at[last]:
            metrics.STAGE_SECONDS.labels(stage).observe((at[last] - at[first]).total_seconds())
    if row.version == 1 and DocumentUploaded.type in at and DocumentReady.type in at:
        metrics.UPLOAD_TO_READY_SECONDS.observe((at[DocumentReady.type] - at[DocumentUploaded.type]).total_seconds())
