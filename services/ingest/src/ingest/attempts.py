"""Who may write what of a document."""

from dataclasses import dataclass
from uuid import UUID

from contracts.objects import chunks_key


@dataclass(frozen=True)
class Attempt:
    """One attempt at one version of a document; what it writes is named after it."""

    owner: UUID
    document: UUID
    version: int
    number: int

    @property
    def chunks_key(self) -> str:
        return chunks_key(self.owner, self.document, self.version, self.number)
