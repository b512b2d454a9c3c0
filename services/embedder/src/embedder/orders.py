"""What the embedder's jobs carry beside the document, its version and its owner."""

from uuid import UUID

from messaging.jobs import NewJob
from messaging.orders import Order

from embedder.indexes import IndexSpec

REBUILD = "rebuild"
"""The kind of job that brings a document into an index that is being built."""


class RebuildOrder(Order):
    """The index that the document's vectors are to be written to."""

    index_id: str


def rebuild_job(index: IndexSpec, document: UUID, owner: UUID, *, part: int = 0) -> NewJob:
    """A rebuild's version is the generation of its index. Part 0 is what was there when it began, others a version."""
    return NewJob(
        kind=REBUILD,
        subject=document,
        version=index.generation,
        owner=owner,
        part=part,
        payload=RebuildOrder(index_id=index.index_id).to_payload(),
    )
