"""A record as it came, and the fact in it, if there is one."""

from dataclasses import dataclass
from uuid import UUID

from aiokafka import ConsumerRecord
from chassis.failures import Poison
from chassis.telemetry import TRACEPARENT
from contracts.envelope import Envelope, Unreadable
from contracts.facts import Fact

UNREADABLE_HEADERS = "record.headers"
EMPTY = "record.empty"
UNREADABLE = "record.unreadable"


@dataclass(frozen=True)
class Record:
    """A record of any origin. `damage` says what was wrong with it before anybody could look at its value."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    traceparent: str | None = None
    damage: str | None = None

    @classmethod
    def of(cls, record: "ConsumerRecord[bytes | None, bytes | None]") -> "Record":
        traceparent, damage = None, None
        for name, value in record.headers:
            try:
                text = None if value is None else bytes(value).decode()
            except UnicodeDecodeError:
                text = None
            if text is None:
                damage = "a header is empty or not UTF-8"
            elif name == "traceparent" and TRACEPARENT.fullmatch(text):
                traceparent = text
        return cls(record.topic, record.partition, record.offset, record.key, record.value, traceparent, damage)


@dataclass(frozen=True)
class Heard:
    """A fact, the event it came in, and the trace it belongs to."""

    event_id: UUID
    fact: Fact
    traceparent: str | None


def read(record: Record) -> Heard:
    """The fact in a record. Raises `Poison` for everything else, and quotes nothing of it."""
    if record.damage is not None:
        raise Poison(UNREADABLE_HEADERS, record.damage)
    if not record.value:
        raise Poison(EMPTY, "it has no value")
    try:
        envelope = Envelope.parse(record.value)
        return Heard(envelope.id, envelope.fact(), record.traceparent or envelope.traceparent)
    except Unreadable as error:
        raise Poison(UNREADABLE, error.reason) from None
    except RecursionError:
        raise Poison(UNREADABLE, "it is nested too deeply") from None
