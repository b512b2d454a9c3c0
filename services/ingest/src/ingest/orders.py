"""What ingest's jobs carry beside the document, its version and its owner."""

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


class ParseOrder(Order):
    """`sha256` is that of the bytes that were accepted."""

    sha256: str


class PurgeOrder(Order):
    deletion_id: UUID
