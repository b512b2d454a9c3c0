"""What qa's jobs carry beside their subject, its version and its owner."""

from collections.abc import Mapping
from typing import Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, JsonValue


class Order(BaseModel):
    """`round` is the one that asked for the work; its outcome says it."""

    model_config = ConfigDict(frozen=True)

    round: int

    @classmethod
    def of(cls, payload: Mapping[str, JsonValue] | None) -> Self:
        return cls.model_validate(payload)

    def to_payload(self) -> dict[str, JsonValue]:
        return self.model_dump(mode="json")


class IndexOrder(Order):
    """The chunks file to be read (its attempt and digest), and the indexes that have the vectors."""

    attempt: int
    chunk_count: int
    pages: int | None
    chunks_sha256: str
    indexes: tuple[str, ...]


class PurgeOrder(Order):
    """`hidden` counts the rows that were erased at once, when the deletion was heard."""

    deletion_id: UUID
    hidden: int = 0
