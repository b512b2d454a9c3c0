"""Chats, what can be found, and which index is active."""

from datetime import datetime

import sqlalchemy as sa
from alembic import op
from messaging import schema
from sqlalchemy.dialects import postgresql

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None

# As tables.py had it at this revision: a migration does not change when the code does.
SEARCH = "to_tsvector('english'::regconfig, text) || array_to_tsvector(ARRAY['o:' || owner_id::text])"


def upgrade() -> None:
    schema.create_v1(op)
    _create_searchable()
    _create_chats()
    op.create_table(
        "indexes",
        sa.Column("index_id", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("dimension", sa.Integer(), nullable=False),
        sa.Column("shards", sa.Integer(), nullable=False),
        _now("activated_at"),
        sa.PrimaryKeyConstraint("index_id", name=op.f("pk_indexes")),
    )


def downgrade() -> None:
    for table in ("indexes", "chat_messages", "chat_sessions", "passages", "searchable_documents"):
        op.drop_table(table)
    schema.drop_v1(op)


def _create_searchable() -> None:
    op.create_table(
        "searchable_documents",
        sa.Column("document_id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("pages", sa.Integer(), nullable=True),
        sa.Column("chunk_count", sa.Integer(), nullable=False),
        _now("ready_at"),
        sa.PrimaryKeyConstraint("document_id", name=op.f("pk_searchable_documents")),
    )
    op.create_index(op.f("ix_searchable_documents_owner_id"), "searchable_documents", ["owner_id"])
    op.create_table(
        "passages",
        sa.Column("document_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("page", sa.Integer(), nullable=True),
        sa.Column("starts_at", sa.Integer(), nullable=False),
        sa.Column("ends_at", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("search", postgresql.TSVECTOR(), sa.Computed(SEARCH, persisted=True), nullable=False),
        sa.PrimaryKeyConstraint("document_id", "version", "ordinal", name=op.f("pk_passages")),
    )
    op.create_index(
        "ix_passages_search",
        "passages",
        ["search"],
        postgresql_using="gin",
        postgresql_with={"gin_pending_list_limit": 512},
    )


def _create_chats() -> None:
    op.create_table(
        "chat_sessions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        _now("created_at"),
        _now("updated_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chat_sessions")),
    )
    op.create_index(
        "ix_chat_sessions_latest", "chat_sessions", ["owner_id", sa.text("updated_at DESC"), sa.text("id DESC")]
    )
    op.create_table(
        "chat_messages",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("sources", postgresql.JSONB(), server_default=sa.text("'[]'::jsonb"), nullable=False),
        sa.Column(
            "source_documents", postgresql.ARRAY(sa.Uuid()), server_default=sa.text("'{}'::uuid[]"), nullable=False
        ),
        sa.Column("answered", sa.Boolean(), nullable=True),
        _flag("running"),
        _flag("stop_requested"),
        _flag("stopped"),
        _flag("redacted"),
        sa.Column("rating", sa.Text(), nullable=True),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("input_tokens", sa.BigInteger(), nullable=True),
        sa.Column("output_tokens", sa.BigInteger(), nullable=True),
        _now("created_at"),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["chat_sessions.id"],
            name=op.f("fk_chat_messages_session_id_chat_sessions"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chat_messages")),
    )
    op.create_index(op.f("ix_chat_messages_owner_id"), "chat_messages", ["owner_id"])
    op.create_index("ix_chat_messages_session", "chat_messages", ["session_id", "id"])
    op.create_index("ix_chat_messages_running", "chat_messages", ["created_at"], postgresql_where=sa.text("running"))
    op.create_index(
        "ix_chat_messages_source_documents",
        "chat_messages",
        ["source_documents"],
        postgresql_using="gin",
        postgresql_with={"fastupdate": False},
    )


def _now(name: str) -> sa.Column[datetime]:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean(), server_default=sa.text("false"), nullable=False)
