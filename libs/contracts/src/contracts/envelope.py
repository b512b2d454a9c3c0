"""How a fact travels: a CloudEvents 1.0 event in structured JSON, the whole of it in the record's value."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, ValidationError

from contracts.facts import FACTS, Fact

CONTENT_TYPE = "application/cloudevents+json"

TYPE_HEADER = "ce_type"
"""The header that repeats the fact's type, as CloudEvents' binding for Kafka allows: for whoever passes the fact by."""


class Unreadable(Exception):
    """A record that is no fact we know: not an envelope, an unknown type, or fields that do not fit."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Envelope(BaseModel):
    """CloudEvents attributes around a fact's data. `traceparent` is the W3C distributed tracing extension."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    specversion: Literal["1.0"] = "1.0"
    id: UUID
    source: str
    type: str
    subject: str
    time: datetime
    datacontenttype: Literal["application/json"] = "application/json"
    traceparent: str | None = None
    data: dict[str, Any]

    @classmethod
    def wrap(
        cls, fact: Fact, *, event_id: UUID, source: str, time: datetime, traceparent: str | None = None
    ) -> "Envelope":
        """Put a fact into its envelope; `time` is when it happened, with its zone."""
        return cls(
            id=event_id,
            source=source,
            type=fact.type,
            subject=fact.subject,
            time=time,
            traceparent=traceparent,
            data=fact.model_dump(mode="json"),
        )

    @classmethod
    def parse(cls, value: bytes) -> "Envelope":
        """Read a record's value. Raises `Unreadable` and says why, without quoting the value."""
        try:
            return cls.model_validate_json(value)
        except ValidationError as error:
            raise Unreadable(f"not an event: {_where(error)}") from None

    def to_bytes(self) -> bytes:
        return self.model_dump_json(exclude_none=True).encode()

    def fact(self) -> Fact:
        """The fact inside. Raises `Unreadable` for a type this release does not know, or for fields that do not fit."""
        known = FACTS.get(self.type)
        if known is None:
            raise Unreadable(f"unknown type {self.type[:100]!r}")
        try:
            fact = known.model_validate(self.data)
        except ValidationError as error:
            raise Unreadable(f"{known.type}: {_where(error)}") from None
        if fact.subject != self.subject:
            raise Unreadable(f"{known.type}: its subject is not the one in its data")
        return fact


def _where(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "the value"
    # Of what is no UUID pydantic quotes a character, and that may be one which no database takes.
    said = "Input should be a valid UUID" if first["type"] == "uuid_parsing" else first["msg"]
    return f"{place}: {said}"
