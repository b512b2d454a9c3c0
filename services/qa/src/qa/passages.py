"""What can be found: passages, and the names by which both halves of the search speak of them."""

import re
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from contracts.index import chunk_id

_CHUNK_ID = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}):([1-9][0-9]{0,8}):(0|[1-9][0-9]{0,8})")


class PassageId(NamedTuple):
    """A chunk of one version of a document."""

    document: UUID
    version: int
    ordinal: int

    def __str__(self) -> str:
        return chunk_id(self.document, self.version, self.ordinal)

    @classmethod
    def parse(cls, text: str) -> "PassageId | None":
        """Read a chunk's id; None if it is not one. Nothing that an index says is taken on trust."""
        match = _CHUNK_ID.fullmatch(text)
        if match is None:
            return None
        return cls(UUID(match[1]), int(match[2]), int(match[3]))


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage as it stands in our own tables; `page` is None for text files, `score` is 1 at best."""

    id: PassageId
    filename: str
    page: int | None
    start: int
    end: int
    text: str
    score: float


@dataclass(frozen=True, slots=True)
class Scope:
    """What one question may see: its owner's documents, of these the ones asked for, without the excluded ones."""

    owner: UUID
    documents: frozenset[UUID] | None = None
    excluded: frozenset[UUID] = frozenset()
