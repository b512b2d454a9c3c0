"""What nobody could read, handle or send: put aside as it was, and handled again when somebody says so."""

import hashlib

import asyncpg
from chassis.failures import Failure
from chassis.storable import storable
from sqlalchemy import func, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from messaging.records import Record
from messaging.tables import DeadLetter

CONSUMER = "consumer"
OUTBOX = "outbox"

LARGEST = 1024 * 1024  # bytes; no fact comes near, and nobody could replay what is cut

REFUSED = "fact.refused"


async def bury(session: AsyncSession, record: Record, failure: Failure) -> bool:
    """Put a record aside. False if it lies there already, from an earlier delivery."""
    value = record.value or b""
    added = await session.scalar(
        insert(DeadLetter)
        .values(
            origin=CONSUMER,
            topic=record.topic,
            partition=record.partition,
            log_offset=record.offset,
            digest=_digest(record.key, value),
            key=record.key,
            value=None if record.value is None else value[:LARGEST],
            size_bytes=len(value),
            reason=failure.code,
            detail=storable(failure.detail),  # what cannot be put aside holds up all that follows
            traceparent=record.traceparent,
        )
        .on_conflict_do_nothing()
        .returning(DeadLetter.id)
    )
    return added is not None


async def replay(session: AsyncSession, *, letter_id: int | None = None, reason: str | None = None) -> int:
    """Ask the service to handle dead letters again, one or all or all of a reason. Gives how many.

    What was cut or has no value cannot be replayed, and what was replayed stays so: asked twice, it happens once.
    """
    asked = (
        update(DeadLetter)
        .where(DeadLetter.state == "dead", DeadLetter.value.is_not(None), DeadLetter.size_bytes <= LARGEST)
        .values(state="replaying")
        .returning(DeadLetter.id)
    )
    if letter_id is not None:
        asked = asked.where(DeadLetter.id == letter_id)
    if reason is not None:
        asked = asked.where(DeadLetter.reason == reason)
    found = (await session.scalars(asked.execution_options(synchronize_session=False))).all()
    await session.execute(func.pg_notify("dead_letters", "").select())
    return len(found)


def of_outbox(row: "asyncpg.Record", reason: str) -> DeadLetter:
    """A fact of the outbox that the broker refuses."""
    key, body = row["subject"].encode(), row["body"]
    return DeadLetter(
        origin=OUTBOX,
        topic=row["topic"],
        partition=-1,
        log_offset=row["id"],
        digest=_digest(key, body),
        key=key,
        value=body,
        size_bytes=len(body),
        reason=REFUSED,
        detail=reason,
        traceparent=row["traceparent"],
    )


def record_of(letter: DeadLetter) -> Record:
    return Record(
        letter.topic, letter.partition, letter.log_offset, letter.key, letter.value, traceparent=letter.traceparent
    )


def _digest(key: bytes | None, value: bytes) -> str:
    return hashlib.sha256(b"%d:" % len(key or b"") + (key or b"") + value).hexdigest()
