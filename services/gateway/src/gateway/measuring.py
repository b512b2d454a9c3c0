"""How long a document took, stage by stage, as its timeline tells."""

from chassis import metrics
from contracts.facts import DocumentChunked, DocumentEmbedded, DocumentReady, DocumentUploaded
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.tables import DocumentEventRow, DocumentRow

STAGES = {
    "ingest": (DocumentUploaded.type, DocumentChunked.type),
    "embedder": (DocumentChunked.type, DocumentEmbedded.type),
    "qa": (DocumentEmbedded.type, DocumentReady.type),
}
"""From which step to which one each stage has it."""


async def measure(session: AsyncSession, row: DocumentRow) -> None:
    """Once a version is ready. A step that was not heard in its order is left out."""
    steps = await session.execute(
        select(DocumentEventRow.fact, func.min(DocumentEventRow.at))
        .where(DocumentEventRow.document_id == row.id, DocumentEventRow.version == row.version)
        .group_by(DocumentEventRow.fact)
    )
    at = {row[0]: row[1] for row in steps}
    for stage, (first, last) in STAGES.items():
        if first in at and last in at and at[first] <= at[last]:
            metrics.STAGE_SECONDS.labels(stage).observe((at[last] - at[first]).total_seconds())
    if row.version == 1 and DocumentUploaded.type in at and DocumentReady.type in at:
        metrics.UPLOAD_TO_READY_SECONDS.observe((at[DocumentReady.type] - at[DocumentUploaded.type]).total_seconds())
