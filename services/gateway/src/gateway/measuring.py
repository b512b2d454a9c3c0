"""How long a document took, stage by stage, as its timeline tells."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from chassis import metrics
from chassis.transactions import driver_of
from contracts.facts import DocumentChunked, DocumentEmbedded, DocumentReady, DocumentUploaded
from sqlalchemy.ext.asyncio import AsyncSession

STAGES = {
    "ingest": (DocumentUploaded.type, DocumentChunked.type),
    "embedder": (DocumentChunked.type, DocumentEmbedded.type),
    "qa": (DocumentEmbedded.type, DocumentReady.type),
}
"""The two steps between which each stage holds a document."""

_STEPS = """
    SELECT document_id, fact, min(at) AS at
    FROM document_events JOIN unnest($1::uuid[], $2::int[]) AS ready (document_id, version) USING (document_id, version)
    GROUP BY document_id, fact
"""


async def measure(session: AsyncSession, ready: Mapping[UUID, int]) -> None:
    """Observe how long these versions took, which are ready now. Steps that were heard out of order are left out."""
    if not ready:
        return
    steps = await (await driver_of(session)).fetch(_STEPS, list(ready), list(ready.values()))
    at: dict[UUID, dict[str, datetime]] = {document: {} for document in ready}
    for step in steps:
        at[step["document_id"]][step["fact"]] = step["at"]
    for document, version in ready.items():
        _tell(at[document], is_first=version == 1)


def _tell(at: Mapping[str, datetime], *, is_first: bool) -> None:
    for stage, (first, last) in STAGES.items():
        if first in at and last in at and at[first] <= at[last]:
            metrics.STAGE_SECONDS.labels(stage).observe((at[last] - at[first]).total_seconds())
    if is_first and DocumentUploaded.type in at and DocumentReady.type in at:
        metrics.UPLOAD_TO_READY_SECONDS.observe((at[DocumentReady.type] - at[DocumentUploaded.type]).total_seconds())
