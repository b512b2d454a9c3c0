"""What qa keeps: chats, what can be found, and which index is active."""

from datetime import datetime
from typing import Any
from uuid import UUID

from chassis.database import NAMING, TYPES
from sqlalchemy import BigInteger, Computed, ForeignKey, Index, MetaData, Uuid, desc, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TSVECTOR
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

TEXT_SEARCH = "english"
"""PostgreSQL's text search configuration; the passages' column and the questions must use the same."""

# The owner is a word of the vector as well: so the index itself narrows to one owner, without an extension.
OWNER_WORD = "o:"
_SEARCH = f"to_tsvector('{TEXT_SEARCH}'::regconfig, text) || array_to_tsvector(ARRAY['{OWNER_WORD}' || owner_id::text])"


class Table(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = TYPES


class SearchableDocument(Table):
    """A document that answers, and with which version."""

    __tablename__ = "searchable_documents"

    document_id: Mapped[UUID] = mapped_column(primary_key=True)
    owner_id: Mapped[UUID] = mapped_column(index=True)
    version: Mapped[int]
    filename: Mapped[str]
    pages: Mapped[int | None]
    chunk_count: Mapped[int]
    ready_at: Mapped[datetime] = mapped_column(server_default=func.now())


class PassageRow(Table):
    """A chunk's text. Rows of a version that does not answer (yet) may be here; nothing shows them."""

    __tablename__ = "passages"
    __table_args__ = (
        Index(
            "ix_passages_search",
            "search",
            postgresql_using="gin",
            # What is pending is read by every search: a little keeps both writing and asking fast.
            postgresql_with={"gin_pending_list_limit": 512},
        ),
    )

    document_id: Mapped[UUID] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    ordinal: Mapped[int] = mapped_column(primary_key=True)
    owner_id: Mapped[UUID]
    page: Mapped[int | None]
    starts_at: Mapped[int]
    ends_at: Mapped[int]
    text: Mapped[str]
    search: Mapped[str] = mapped_column(TSVECTOR, Computed(_SEARCH, persisted=True), deferred=True)


class ChatSession(Table):
    """A conversation."""

    __tablename__ = "chat_sessions"
    __table_args__ = (Index("ix_chat_sessions_latest", "owner_id", desc("updated_at"), desc("id")),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    owner_id: Mapped[UUID]
    title: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ChatMessage(Table):
    """A question, or an answer; an answer is `running` until it is stored, and nobody is shown it before."""

    __tablename__ = "chat_messages"
    __table_args__ = (
        Index(
            "ix_chat_messages_source_documents",
            "source_documents",
            postgresql_using="gin",
            postgresql_with={"fastupdate": False},
        ),
        Index("ix_chat_messages_running", "created_at", postgresql_where=text("running")),
        Index("ix_chat_messages_session", "session_id", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    session_id: Mapped[UUID] = mapped_column(ForeignKey("chat_sessions.id", ondelete="CASCADE"))
    owner_id: Mapped[UUID] = mapped_column(index=True)
    role: Mapped[str]
    content: Mapped[str]
    sources: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=text("'[]'::jsonb"))
    # Every document among the sources, cited or not: what hiding, blanking and fencing go by.
    source_documents: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid()), server_default=text("'{}'::uuid[]"))
    answered: Mapped[bool | None]
    running: Mapped[bool] = mapped_column(server_default=text("false"))
    stop_requested: Mapped[bool] = mapped_column(server_default=text("false"))
    stopped: Mapped[bool] = mapped_column(server_default=text("false"))
    redacted: Mapped[bool] = mapped_column(server_default=text("false"))
    rating: Mapped[str | None]
    comment: Mapped[str | None]
    model: Mapped[str | None]
    input_tokens: Mapped[int | None] = mapped_column(BigInteger)
    output_tokens: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class IndexRow(Table):
    """An index that was activated; the highest generation is the active one."""

    __tablename__ = "indexes"

    index_id: Mapped[str] = mapped_column(primary_key=True)
    generation: Mapped[int]
    model: Mapped[str]
    dimension: Mapped[int]
    shards: Mapped[int]
    activated_at: Mapped[datetime] = mapped_column(server_default=func.now())
