"""What the gateway keeps. Every time is the database's; a filename stands in `documents` and nowhere else."""

from datetime import datetime
from typing import Any
from uuid import UUID

from chassis.database import NAMING, TYPES
from contracts.documents import DocumentStatus
from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, MetaData, Text, func, literal_column, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from gateway.progress import Progress, verdict_of

metadata = MetaData(naming_convention=NAMING)

STREAM_CHANNEL = "documents"
"""Notified with the owner's id whenever an owner's counter has moved, or the account was closed."""

RUNNING_SQL = "status IN ('uploaded', 'parsing', 'embedding')"
NOT_DELETING_SQL = "status <> 'deleting'"
UNFINISHED_SQL = "completed_at IS NULL AND document_id IS NOT NULL"
HIDDEN_SQL = "NOT qa_erased AND document_id IS NOT NULL"


class Row(DeclarativeBase):
    """The parent of the gateway's tables."""

    metadata = metadata
    type_annotation_map = {  # noqa: RUF012 - read by SQLAlchemy
        **TYPES,
        dict[str, Any]: JSONB(),
    }


class OwnerRow(Row):
    """An owner: the counter behind the ids of the stream, and whether the account was closed.

    Always the last lock of a transaction: the counter is a locked row and not a sequence, so that whoever has read up
    to a position has missed nothing below it.
    """

    __tablename__ = "owners"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    tag: Mapped[str] = mapped_column(server_default=text("substr(md5(random()::text), 1, 8)"))
    counter: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    closed_at: Mapped[datetime | None]


class DocumentRow(Row):
    """A document until its receipt is complete."""

    __tablename__ = "documents"
    __table_args__ = (
        CheckConstraint(
            "status IN ('uploaded', 'parsing', 'embedding', 'ready', 'failed', 'deleting')", name="known_status"
        ),
        Index(
            "uq_documents_owner_id_sha256", "owner_id", "sha256", unique=True, postgresql_where=text(NOT_DELETING_SQL)
        ),
        Index("ix_documents_by_age", "owner_id", "created_at", "id"),
        Index("ix_documents_by_name", "owner_id", "folded_name", "id"),
        Index("ix_documents_by_position", "owner_id", "position"),
        Index("ix_documents_moved_at", "moved_at"),
        Index("ix_documents_running", "moved_at", postgresql_where=text(RUNNING_SQL)),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    owner_id: Mapped[UUID]
    filename: Mapped[str]
    # Without case, in an order that is the same on every server: what is searched and sorted by.
    folded_name: Mapped[str] = mapped_column(Text(collation="C"))
    media_type: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
    status: Mapped[str]
    version: Mapped[int]
    live_version: Mapped[int | None]
    pages: Mapped[int | None]
    chunk_count: Mapped[int | None]
    embedded_count: Mapped[int] = mapped_column(server_default=text("0"))
    error_stage: Mapped[str | None]
    error_code: Mapped[str | None]
    error_detail: Mapped[str | None]
    error_retryable: Mapped[bool | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_processed_at: Mapped[datetime | None]
    # When this version was asked for; how long it then took is measured from here.
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    position: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    # The reconciler's: the last round, how many of them nothing has followed, and when the next is due, once one was.
    round: Mapped[int] = mapped_column(server_default=text("0"))
    unanswered: Mapped[int] = mapped_column(server_default=text("0"))
    moved_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ask_at: Mapped[datetime | None]

    @property
    def progress(self) -> Progress:
        return Progress(
            version=self.version,
            status=DocumentStatus(self.status),
            live_version=self.live_version,
            pages=self.pages,
            chunk_count=self.chunk_count,
            embedded_count=self.embedded_count,
            verdict=verdict_of(self.error_stage, self.error_code, self.error_detail, self.error_retryable),
        )

    @progress.setter
    def progress(self, progress: Progress) -> None:
        verdict = progress.verdict
        self.version = progress.version
        self.status = progress.status.value
        self.live_version = progress.live_version
        self.pages = progress.pages
        self.chunk_count = progress.chunk_count
        self.embedded_count = progress.embedded_count
        self.error_stage = verdict.stage if verdict else None
        self.error_code = verdict.code if verdict else None
        self.error_detail = verdict.detail if verdict else None
        self.error_retryable = verdict.retryable if verdict else None


DOCUMENT_COLUMNS = tuple(DocumentRow.__table__.columns.keys())
"""For statements that the driver is asked: `*` changes under them when the next release adds a column."""


class DocumentEventRow(Row):
    """One step of a document's life: its timeline. A later round of a known fact is no new step."""

    __tablename__ = "document_events"

    document_id: Mapped[UUID] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    fact: Mapped[str] = mapped_column(primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    service: Mapped[str]
    detail: Mapped[str | None]
    # Steps of one transaction have their order, too.
    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class DeletionRow(Row):
    """A deletion and its receipt; of a whole account where `document_id` is null. It outlives what it tells of."""

    __tablename__ = "deletions"
    __table_args__ = (
        Index("uq_deletions_document_id", "document_id", unique=True),
        Index("ix_deletions_by_position", "owner_id", "position"),
        Index("ix_deletions_hidden", "owner_id", postgresql_where=text(HIDDEN_SQL)),
        Index("ix_deletions_unfinished", "requested_at", postgresql_where=text(UNFINISHED_SQL)),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    owner_id: Mapped[UUID]
    document_id: Mapped[UUID | None]
    # The document's last version: every fact about it names one.
    version: Mapped[int] = mapped_column(server_default=text("1"))
    requested_at: Mapped[datetime] = mapped_column(server_default=func.now())
    completed_at: Mapped[datetime | None]
    verified_at: Mapped[datetime | None]
    # What the object store held before erasing began: a purge that is taken up again would count less.
    found: Mapped[int | None]
    # qa has erased it, so that nothing has to be hidden from it any more.
    qa_erased: Mapped[bool] = mapped_column(server_default=text("false"))
    position: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    round: Mapped[int] = mapped_column(server_default=text("0"))
    unanswered: Mapped[int] = mapped_column(server_default=text("0"))
    ask_at: Mapped[datetime | None]


class ReceiptRow(Row):
    """What one store erased, and what it counted afterwards."""

    __tablename__ = "deletion_receipts"

    deletion_id: Mapped[UUID] = mapped_column(ForeignKey("deletions.id", ondelete="CASCADE"), primary_key=True)
    store: Mapped[str] = mapped_column(primary_key=True)
    erased: Mapped[int] = mapped_column(BigInteger)
    remaining: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    verified_at: Mapped[datetime | None]


class IdempotencyRow(Row):
    """An `Idempotency-Key` of an owner: claimed while its call runs, afterwards what was answered.

    That is the ids of documents, and the names of files that were refused: it goes with the account.
    """

    __tablename__ = "idempotency_keys"

    owner_id: Mapped[UUID] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    claim: Mapped[UUID]
    # A gateway that died does not keep a key for a day.
    leased_until: Mapped[datetime]
    fingerprint: Mapped[str | None]
    answer: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)


class RawLinkRow(Row):
    """A link that needs no token, for one document and fifteen minutes. Only the hash of its secret is kept."""

    __tablename__ = "raw_links"

    token_hash: Mapped[bytes] = mapped_column(primary_key=True)
    document_id: Mapped[UUID] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"), index=True)
    expires_at: Mapped[datetime] = mapped_column(index=True)


NOT_DELETING = DocumentRow.status != literal_column("'deleting'")
"""For queries that the partial indexes serve."""

MAY_SUCCEED_LATER = (DocumentRow.status == DocumentStatus.FAILED.value) & DocumentRow.error_retryable.is_(True)
"""`Progress.may_succeed_later`, as a query asks it."""
