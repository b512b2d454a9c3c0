"""A record as it came, and the fact in it, if there is one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast
from uuid import UUID

from chassis.failures import Poison
from chassis.telemetry import TRACEPARENT
from confluent_kafka import Message
from contracts.envelope import TYPE_HEADER, Envelope, Unreadable
from contracts.facts import Fact

DAMAGED_BATCH = "record.damaged"
UNREADABLE_HEADERS = "record.headers"
EMPTY = "record.empty"
UNREADABLE = "record.unreadable"


@dataclass(frozen=True)
class Record:
    """A record of any origin. `damage` is what was wrong with it before anybody could look at its value."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    traceparent: str | None = None
    damage: Poison | None = None

    @classmethod
    def of(cls, message: Message) -> "Record":
        """Of a message that came from a broker, or of what the client says in the place of one that it cannot read."""
        place = str(message.topic()), int(message.partition() or 0), int(message.offset() or 0)
        if (error := message.error()) is not None:
            return cls(*place, None, None, damage=Poison(DAMAGED_BATCH, error.str()))
        try:
            traceparent = _headers(message).get("traceparent")
        except _DAMAGED:
            damage = Poison(UNREADABLE_HEADERS, "a header is empty or not UTF-8")
            return cls(*place, message.key(), message.value(), damage=damage)
        if traceparent is not None and not TRACEPARENT.fullmatch(traceparent):
            traceparent = None
        return cls(*place, message.key(), message.value(), traceparent)


@dataclass(frozen=True)
class Heard:
    """A fact, the event it came in, and the trace it belongs to."""

    event_id: UUID
    fact: Fact
    traceparent: str | None


def read(record: Record) -> Heard:
    """The fact in a record. Raises `Poison` for everything else, and quotes nothing of it."""
    if record.damage is not None:
        raise record.damage
    if not record.value:
        raise Poison(EMPTY, "it has no value")
    try:
        envelope = Envelope.parse(record.value)
        return Heard(envelope.id, envelope.fact(), record.traceparent or envelope.traceparent)
    except Unreadable as error:
        raise Poison(UNREADABLE, error.reason) from None
    except RecursionError:
        raise Poison(UNREADABLE, "it is nested too deeply") from None


def type_of(message: Message) -> str | None:
    """The fact's type, if its sender has put it beside the value."""
    try:
        return _headers(message).get(TYPE_HEADER)
    except _DAMAGED:
        return None


# What values that are empty or not UTF-8 end in.
_DAMAGED = (AttributeError, UnicodeDecodeError)


def _headers(message: Message) -> dict[str, str]:
    told = cast("Sequence[tuple[str, bytes]]", message.headers() or ())
    return {name: value.decode() for name, value in told}
