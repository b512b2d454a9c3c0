"""Saying a fact in the transaction of the change that made it true."""

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from chassis.ids import uuid7
from chassis.telemetry import traceparent
from chassis.transactions import Driver, before_commit, memory_of
from contracts.envelope import Envelope
from contracts.facts import Fact
from sqlalchemy.ext.asyncio import AsyncSession

from messaging.records import Record, read

LARGEST = 256 * 1024  # bytes; facts are a few hundred, and a broker takes 1 MiB by default


# Numbered in the order in which they were said.
_SAY = """
    INSERT INTO outbox (event_id, topic, subject, type, body, traceparent, kept)
    SELECT event_id, topic, subject, type, body, traceparent, kept
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::text[], $7::boolean[])
        WITH ORDINALITY AS said (event_id, topic, subject, type, body, traceparent, kept, number)
    ORDER BY number
"""

_SAID = "messaging.said"


class FactTooLarge(Exception):
    """A fact that nobody should have to carry. It was refused when it was said: nothing is stored."""

    def __init__(self, type_: str, subject: str, size: int) -> None:
        super().__init__(f"{type_} about {subject} has {size} bytes, and {LARGEST} is the most")
        self.type = type_
        self.subject = subject
        self.size = size


class Outbox:
    """What this service says. `source` is its name, as readers see it."""

    def __init__(self, source: str) -> None:
        self._source = source

    def add(self, session: AsyncSession, fact: Fact) -> UUID:
        """Say it when the transaction commits, and never if it does not. Gives the id of the event."""
        event_id, trace = uuid7(), traceparent()
        envelope = Envelope.wrap(
            fact, event_id=event_id, source=self._source, time=datetime.now(UTC), traceparent=trace
        )
        body = envelope.to_bytes()
        if len(body) > LARGEST:
            raise FactTooLarge(fact.type, fact.subject, len(body))
        _say(session, fact, event_id, body, trace)
        return event_id


def say_again(session: AsyncSession, record: Record) -> None:
    """Put a fact that could not be sent into the outbox once more, with the id that it has. Raises `Poison`."""
    heard = read(record)
    _say(session, heard.fact, heard.event_id, record.value or b"", heard.traceparent)


def types_said(memory: Mapping[str, Any]) -> set[str]:
    """The types of the facts that a transaction with this memory has said."""
    return {said.type for said in memory.get(_SAID, ())}


@dataclass(frozen=True)
class _Said:
    event_id: UUID
    topic: str
    subject: str
    type: str
    body: bytes
    traceparent: str | None
    kept: bool


def _say(session: AsyncSession, fact: Fact, event_id: UUID, body: bytes, trace: str | None) -> None:
    """All that one transaction says is one statement, its last."""
    memory = memory_of(session)
    if _SAID not in memory:
        said: list[_Said] = []
        memory[_SAID] = said

        async def send(driver: Driver) -> None:
            await driver.execute(_SAY, *(list(column) for column in zip(*map(astuple, said), strict=True)))

        before_commit(session, send)
    memory[_SAID].append(_Said(event_id, fact.topic.name, fact.subject, fact.type, body, trace, fact.kept))
