"""Documents over HTTP."""

from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from contracts.fields import Request, Response, Utc
from contracts.problems import Problem


class DocumentStatus(StrEnum):
    """Where the newest version of a document stands."""

    UPLOADED = "uploaded"
    PARSING = "parsing"
    EMBEDDING = "embedding"
    READY = "ready"
    FAILED = "failed"
    DELETING = "deleting"


class DocumentError(Response):
    """Why the newest version failed; `retryable` tells whether the same bytes may succeed later."""

    stage: str
    code: str
    detail: str
    retryable: bool


class DocumentLinks(Response):
    """Where the parts of a document are, below the gateway's address."""

    self: str
    raw: str
    chunks: str
    timeline: str


class Document(Response):
    """A document; status, pages and counts are those of `version`, the newest, and `live_version` is what answers."""

    id: UUID
    filename: str
    media_type: str
    size_bytes: int
    sha256: str
    status: DocumentStatus
    version: int
    live_version: int | None
    pages: int | None
    chunk_count: int | None
    embedded_count: int
    error: DocumentError | None
    created_at: Utc
    updated_at: Utc
    last_processed_at: Utc | None
    links: DocumentLinks


class UploadedDocument(Document):
    """A document as an upload answers it; `duplicate` if the same bytes were already there."""

    duplicate: bool


class RejectedFile(Response):
    """A part of an upload that was not taken."""

    filename: str
    code: str
    detail: str


class UploadAnswer(Response):
    """`POST /api/upload`: each file is judged alone, in the order of the parts."""

    documents: list[UploadedDocument]
    rejected: list[RejectedFile]


class UploadProblem(Problem):
    """An upload that was refused; `rejected` tells of each file where not one of them was taken."""

    rejected: list[RejectedFile] | None = None


class DocumentPage(Response):
    """`GET /api/docs`; `counts` ignore filter and page, `next_cursor` is null at the end."""

    items: list[Document]
    next_cursor: str | None
    counts: dict[DocumentStatus, int]


class DocumentSort(StrEnum):
    """The orders of the list; a minus is descending."""

    NEWEST = "-created_at"
    OLDEST = "created_at"
    NAME = "filename"
    NAME_REVERSED = "-filename"


class DocumentChunk(Response):
    """A chunk as `/chunks` shows it; positions are code points within the page, or within the file without pages."""

    id: str
    ordinal: int
    page: int | None
    start: int
    end: int
    text: str


class ChunkPage(Response):
    """`GET /api/docs/{id}/chunks`."""

    items: list[DocumentChunk]
    next_cursor: str | None


class RawLink(Response):
    """`POST /api/docs/{id}/raw-link`: a link that needs no token, for fifteen minutes and one document."""

    url: str
    expires_at: Utc


class TimelineItem(Response):
    """One step in a document's life."""

    at: Utc
    event: str
    service: str
    version: int
    attempt: int
    detail: str | None


class Timeline(Response):
    """`GET /api/docs/{id}/timeline`, oldest first."""

    items: list[TimelineItem]


class ReprocessRequest(Request):
    """`POST /api/docs/reprocess`."""

    status: Literal["failed"]


class ReprocessAnswer(Response):
    """How many documents are processed again."""

    accepted: int


class DeleteRequest(Request):
    """`POST /api/docs/delete`."""

    ids: Annotated[list[UUID], Field(min_length=1, max_length=100)]


class DocumentDeletion(Response):
    """The receipt to ask for: `GET /api/deletions/{deletion_id}`."""

    deletion_id: UUID
    document_id: UUID


class DeletionsAnswer(Response):
    """`POST /api/docs/delete`; ids that are not the caller's are `not_found`, like those that never existed."""

    items: list[DocumentDeletion]
    not_found: list[UUID]


class StoreReceipt(Response):
    """What one store erased and what it counted afterwards."""

    erased: int
    remaining: int
    at: Utc


class Deletion(Response):
    """`GET /api/deletions/{id}`: complete once every store has its receipt, verified once each has counted again."""

    document_id: UUID | None
    requested_at: Utc
    completed_at: Utc | None
    verified_at: Utc | None
    stores: dict[str, StoreReceipt]


class Gone(Response):
    """Event `gone` of the document stream."""

    id: UUID
