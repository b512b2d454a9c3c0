"""What one person was told while things broke, and what she saw that cannot be."""

from dataclasses import dataclass, field
from uuid import UUID


@dataclass
class History:
    """Promises by the hash of the bytes or by the document's id. An answer that was lost promises nothing."""

    owner: UUID
    promised: dict[str, str] = field(default_factory=dict)
    """The document of each upload that was accepted."""
    unknown: set[str] = field(default_factory=set)
    """Uploads of which nobody knows what became."""
    deleted: dict[str, str] = field(default_factory=dict)
    """The deletion of each document that was said to be deleted."""
    perhaps_deleted: set[str] = field(default_factory=set)
    seen: list[str] = field(default_factory=list)
    """What she should not have been shown."""
    refused: int = 0
    answered: int = 0
    told: int = 0
    """Answers that told of the very document that was asked about: only among such could one of a deleted one be."""

    @property
    def kept(self) -> list[str]:
        """The documents that must be there in the end."""
        return [id_ for id_ in self.promised.values() if id_ not in self.deleted and id_ not in self.perhaps_deleted]
