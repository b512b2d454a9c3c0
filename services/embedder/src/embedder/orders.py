"""What the embedder's jobs carry beside the document, its version and its owner."""

from collections.abc import Mapping
from typing import Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, JsonValue


class Order(BaseModel):
    model_config = ConfigDict(frozen=True)

    @classmethod
    def of(cls, payload: Mapping[str, JsonValue] | None) -> Self:
        return cls.model_validate(payload)

    def to_payload(self) -> dict[str, JsonValue]:
        return self.model_dump(mode="json")


class PurgeOrder(Order):
    """`round` is the one that asked for the work; its outcome says it."""

    round: int
    deletion_id: UUID


class RebuildOrder(Order):
    """The index that the document's vectors are to be written to."""

    index_id: str
