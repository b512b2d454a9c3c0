"""The tables that every service has, on a metadata of their own: a service's migrations name it beside theirs."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from chassis.database import NAMING, TYPES
from pydantic import JsonValue
from sqlalchemy import BigInteger, Identity, Index, Integer, MetaData, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

metadata = MetaData(naming_convention=NAMING)


class Base(DeclarativeBase):
    metadata = metadata
    type_annotation_map = {  # noqa: RUF012 - read by SQLAlchemy
        **TYPES,
        list[int]: ARRAY(Integer),
        Mapping[str, JsonValue]: JSONB,
    }


class OutboxRow(Base):
    """A fact that was said. `sent_at` is empty until the broker has acknowledged it; the offset is the one it got."""

    __tablename__ = "outbox"
    __table_args__ = (
        Index("ix_outbox_unsent", "id", postgresql_where=text("sent_at IS NULL")),
        Index("ix_outbox_sent", "kept", "sent_at", postgresql_where=text("sent_at IS NOT NULL")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    event_id: Mapped[UUID]
    topic: Mapped[str]
    subject: Mapped[str]
    type: Mapped[str]
    body: Mapped[bytes]
    traceparent: Mapped[str | None]
    kept: Mapped[bool]
    said_at: Mapped[datetime] = mapped_column(server_default=func.now())
    sent_at: Mapped[datetime | None]
    sent_partition: Mapped[int | None]
    sent_offset: Mapped[int | None] = mapped_column(BigInteger)


class JobRow(Base):
    """Work that somebody will do: one row for each part of one kind of work on one version of a subject."""

    __tablename__ = "jobs"
    __table_args__ = (
        # Taking: the owners with something to do, and the oldest of each.
        Index("ix_jobs_waiting", "kind", "owner", "available_at", "part", postgresql_where=text("state = 'waiting'")),
        Index(
            "ix_jobs_light",
            "kind",
            "owner",
            "available_at",
            "part",
            postgresql_where=text("state = 'waiting' AND light"),
        ),
        # Turns: when an owner was last served.
        Index("ix_jobs_turns", "kind", "owner", "taken_at", postgresql_where=text("taken_at IS NOT NULL")),
        Index("ix_jobs_leases", "lease_until", postgresql_where=text("state = 'running'")),
        Index("ix_jobs_finished", "finished_at", postgresql_where=text("finished_at IS NOT NULL")),
    )

    subject: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    part: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[str]
    state: Mapped[str] = mapped_column(server_default="waiting")
    attempt: Mapped[int] = mapped_column(server_default="0")
    tries: Mapped[int] = mapped_column(server_default="0")
    crashes: Mapped[int] = mapped_column(server_default="0")
    available_at: Mapped[datetime] = mapped_column(server_default=func.now())
    lease_until: Mapped[datetime | None]
    taken_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    payload: Mapped[Mapping[str, JsonValue] | None]
    traceparent: Mapped[str | None]
    failure: Mapped[str | None]
    added_at: Mapped[datetime] = mapped_column(server_default=func.now())
    light: Mapped[bool] = mapped_column(server_default=text("false"))


class FenceRow(Base):
    """What this service has heard of a subject, as `messaging.fences` keeps it. The row outlives the subject."""

    __tablename__ = "fences"

    subject: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(server_default="0")
    live: Mapped[int] = mapped_column(server_default="0")
    failed: Mapped[list[int]] = mapped_column(server_default="{}")
    deleted_at: Mapped[datetime | None]
    outcome_type: Mapped[str | None]
    outcome_version: Mapped[int | None]
    outcome_round: Mapped[int | None]
    outcome: Mapped[Mapping[str, JsonValue] | None]


class DeadLetter(Base):
    """A record that could not be handled, or a fact that the broker would not take, as it was and why."""

    __tablename__ = "dead_letters"
    __table_args__ = (
        # Found again on redelivery; the digest tells a record from another one at its place in a broker that was wiped.
        UniqueConstraint("origin", "topic", "partition", "log_offset", "digest"),
        Index("ix_dead_letters_replays", "id", postgresql_where=text("state = 'replaying'")),
        Index("ix_dead_letters_added_at", "added_at"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    origin: Mapped[str]
    topic: Mapped[str]
    partition: Mapped[int]
    log_offset: Mapped[int] = mapped_column(BigInteger)
    digest: Mapped[str]
    key: Mapped[bytes | None]
    value: Mapped[bytes | None]
    size_bytes: Mapped[int]
    reason: Mapped[str]
    detail: Mapped[str]
    traceparent: Mapped[str | None]
    state: Mapped[str] = mapped_column(server_default="dead")
    replays: Mapped[int] = mapped_column(server_default="0")
    added_at: Mapped[datetime] = mapped_column(server_default=func.now())
    replayed_at: Mapped[datetime | None]


class ChoreRow(Base):
    """When a chore is next due, and until when one replica has it."""

    __tablename__ = "chores"

    name: Mapped[str] = mapped_column(primary_key=True)
    due_at: Mapped[datetime] = mapped_column(server_default=func.now())
    claimed_until: Mapped[datetime | None]
