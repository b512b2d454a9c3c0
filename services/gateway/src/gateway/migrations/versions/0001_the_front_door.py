"""Documents, their timeline, deletions and owners; keys, links; the tables of messaging."""

import sqlalchemy as sa
from alembic import op
from messaging import schema
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

NOW = sa.text("now()")
ZERO = sa.text("0")


def upgrade() -> None:
    schema.create_v1(op)
    _create_owners()
    _create_documents()
    _create_deletions()
    _create_keys_and_links()
    _create_notification()


def downgrade() -> None:
    op.execute("DROP TRIGGER notify_documents ON owners")
    op.execute("DROP FUNCTION notify_documents")
    for table in (
        "raw_links",
        "idempotency_keys",
        "deletion_receipts",
        "deletions",
        "document_events",
        "documents",
        "owners",
    ):
        op.drop_table(table)
    schema.drop_v1(op)


def _time(name: str, *, nullable: bool = False, default: sa.TextClause | None = None) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable, server_default=default)


def _create_owners() -> None:
    op.create_table(
        "owners",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tag", sa.Text(), nullable=False, server_default=sa.text("substr(md5(random()::text), 1, 8)")),
        sa.Column("counter", sa.BigInteger(), nullable=False, server_default=ZERO),
        _time("closed_at", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_owners"),
    )


def _create_documents() -> None:
    op.create_table(
        "documents",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("folded_name", sa.Text(collation="C"), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("live_version", sa.Integer()),
        sa.Column("pages", sa.Integer()),
        sa.Column("chunk_count", sa.Integer()),
        sa.Column("embedded_count", sa.Integer(), nullable=False, server_default=ZERO),
        sa.Column("error_stage", sa.Text()),
        sa.Column("error_code", sa.Text()),
        sa.Column("error_detail", sa.Text()),
        sa.Column("error_retryable", sa.Boolean()),
        _time("created_at", default=NOW),
        _time("updated_at", default=NOW),
        _time("last_processed_at", nullable=True),
        _time("started_at", default=NOW),
        sa.Column("position", sa.BigInteger(), nullable=False, server_default=ZERO),
        sa.Column("round", sa.Integer(), nullable=False, server_default=ZERO),
        sa.Column("unanswered", sa.Integer(), nullable=False, server_default=ZERO),
        _time("moved_at", default=NOW),
        _time("ask_at", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_documents"),
        sa.CheckConstraint(
            "status IN ('uploaded', 'parsing', 'embedding', 'ready', 'failed', 'deleting')",
            name=op.f("ck_documents_known_status"),
        ),
    )
    op.create_index(
        "uq_documents_owner_id_sha256",
        "documents",
        ["owner_id", "sha256"],
        unique=True,
        postgresql_where=sa.text("status <> 'deleting'"),
    )
    op.create_index("ix_documents_by_age", "documents", ["owner_id", "created_at", "id"])
    op.create_index("ix_documents_by_name", "documents", ["owner_id", "folded_name", "id"])
    op.create_index("ix_documents_by_position", "documents", ["owner_id", "position"])
    op.create_index("ix_documents_moved_at", "documents", ["moved_at"])
    op.create_index(
        "ix_documents_running",
        "documents",
        ["moved_at"],
        postgresql_where=sa.text("status IN ('uploaded', 'parsing', 'embedding')"),
    )
    op.create_table(
        "document_events",
        sa.Column("document_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("fact", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text()),
        _time("at", default=sa.text("clock_timestamp()")),
        sa.PrimaryKeyConstraint("document_id", "version", "fact", "attempt", name="pk_document_events"),
        sa.ForeignKeyConstraint(
            ["document_id"], ["documents.id"], name="fk_document_events_document_id_documents", ondelete="CASCADE"
        ),
    )


def _create_deletions() -> None:
    op.create_table(
        "deletions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("document_id", sa.Uuid()),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        _time("requested_at", default=NOW),
        _time("completed_at", nullable=True),
        _time("verified_at", nullable=True),
        sa.Column("found", sa.Integer()),
        sa.Column("qa_erased", sa.Boolean(), nullable=False, server_default=sa.text("false")),
        sa.Column("position", sa.BigInteger(), nullable=False, server_default=ZERO),
        sa.Column("round", sa.Integer(), nullable=False, server_default=ZERO),
        sa.Column("unanswered", sa.Integer(), nullable=False, server_default=ZERO),
        _time("ask_at", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_deletions"),
    )
    op.create_index("uq_deletions_document_id", "deletions", ["document_id"], unique=True)
    op.create_index("ix_deletions_by_position", "deletions", ["owner_id", "position"])
    op.create_index(
        "ix_deletions_hidden",
        "deletions",
        ["owner_id"],
        postgresql_where=sa.text("NOT qa_erased AND document_id IS NOT NULL"),
    )
    op.create_index(
        "ix_deletions_unfinished",
        "deletions",
        ["requested_at"],
        postgresql_where=sa.text("completed_at IS NULL AND document_id IS NOT NULL"),
    )
    op.create_table(
        "deletion_receipts",
        sa.Column("deletion_id", sa.Uuid(), nullable=False),
        sa.Column("store", sa.Text(), nullable=False),
        sa.Column("erased", sa.BigInteger(), nullable=False),
        sa.Column("remaining", sa.BigInteger(), nullable=False),
        _time("at", default=NOW),
        _time("verified_at", nullable=True),
        sa.PrimaryKeyConstraint("deletion_id", "store", name="pk_deletion_receipts"),
        sa.ForeignKeyConstraint(
            ["deletion_id"], ["deletions.id"], name="fk_deletion_receipts_deletion_id_deletions", ondelete="CASCADE"
        ),
    )


def _create_keys_and_links() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("claim", sa.Uuid(), nullable=False),
        _time("leased_until"),
        sa.Column("fingerprint", sa.Text()),
        sa.Column("answer", JSONB()),
        _time("created_at", default=NOW),
        sa.PrimaryKeyConstraint("owner_id", "key", name="pk_idempotency_keys"),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])
    op.create_table(
        "raw_links",
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("document_id", sa.Uuid(), nullable=False),
        _time("expires_at"),
        sa.PrimaryKeyConstraint("token_hash", name="pk_raw_links"),
        sa.ForeignKeyConstraint(
            ["document_id"], ["documents.id"], name="fk_raw_links_document_id_documents", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_raw_links_document_id", "raw_links", ["document_id"])
    op.create_index("ix_raw_links_expires_at", "raw_links", ["expires_at"])


def _create_notification() -> None:
    """Every gateway with an open stream of this owner looks at once."""
    op.execute(
        """
        CREATE FUNCTION notify_documents() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_notify('documents', NEW.id::text);
            RETURN NULL;
        END $$
        """
    )
    op.execute(
        """
        CREATE TRIGGER notify_documents AFTER INSERT OR UPDATE OF counter, closed_at ON owners
        FOR EACH ROW EXECUTE FUNCTION notify_documents()
        """
    )
