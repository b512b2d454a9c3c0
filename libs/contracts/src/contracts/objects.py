"""Where the bytes of a document lie in the object store.

Keys are computed from ids, never taken from a message or a user.
"""

from uuid import UUID

from pydantic import BaseModel, ConfigDict


class About(BaseModel):
    """What `about.json` says of the raw file beside it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    filename: str
    media_type: str
    size_bytes: int
    sha256: str


def owner_prefix(owner: UUID) -> str:
    return f"users/{owner}/"


def document_prefix(owner: UUID, document: UUID) -> str:
    return f"{owner_prefix(owner)}documents/{document}/"


def version_prefix(owner: UUID, document: UUID, version: int) -> str:
    return f"{document_prefix(owner, document)}v{version}/"


def raw_key(owner: UUID, document: UUID) -> str:
    return f"{document_prefix(owner, document)}raw"


def about_key(owner: UUID, document: UUID) -> str:
    return f"{document_prefix(owner, document)}about.json"


def chunks_key(owner: UUID, document: UUID, version: int, attempt: int) -> str:
    """The chunks file belongs to an attempt: two attempts can differ, and everybody must read the same one."""
    return f"{version_prefix(owner, document, version)}chunks.{attempt}.jsonl"
