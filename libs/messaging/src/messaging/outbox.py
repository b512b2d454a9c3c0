"""Saying a fact in the transaction of the change that made it true."""

from datetime import UTC, datetime
from uuid import UUID

from chassis.ids import uuid7
from chassis.telemetry import traceparent
from contracts.envelope import Envelope
from contracts.facts import Fact
from sqlalchemy.ext.asyncio import AsyncSession

from messaging.records import Record, read
from messaging.tables import OutboxRow

LARGEST = 256 * 1024  # bytes; facts are a few hundred, and a broker takes 1 MiB by default


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
        session.add(
            OutboxRow(
                event_id=event_id,
                topic=fact.topic.name,
                subject=fact.subject,
                type=fact.type,
                body=body,
                traceparent=trace,
                kept=fact.kept,
            )
        )
        return event_id


def say_again(session: AsyncSession, record: Record) -> None:
    """Put a fact that could not be sent into the outbox once more, with the id that it has. Raises `Poison`."""
    heard, body = read(record), record.value or b""
    session.add(
        OutboxRow(
            event_id=heard.event_id,
            topic=heard.fact.topic.name,
            subject=heard.fact.subject,
            type=heard.fact.type,
            body=body,
            traceparent=heard.traceparent,
            kept=heard.fact.kept,
        )
    )
