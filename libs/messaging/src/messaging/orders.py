"""What a job carries beside its subject, its version and its owner."""

from collections.abc import Mapping
from typing import Self

from pydantic import BaseModel, ConfigDict, JsonValue


class Order(BaseModel):
    """The payload of one kind of job."""

    model_config = ConfigDict(frozen=True)

    @classmethod
    def of(cls, payload: Mapping[str, JsonValue] | None) -> Self:
        return cls.model_validate(payload)

    def to_payload(self) -> dict[str, JsonValue]:
        return self.model_dump(mode="json")


class AskedOrder(Order):
    """`round` is the one that asked for the work; its outcome says it."""

    round: int
