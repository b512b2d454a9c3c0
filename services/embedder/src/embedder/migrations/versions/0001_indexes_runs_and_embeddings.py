"""Delivery's tables, indexes, runs and every vector."""

import sqlalchemy as sa
from alembic import op
from messaging import schema

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    schema.create_v1(op)
    op.create_table(
        "vector_indexes",
        sa.Column("index_id", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("dimension", sa.Integer(), nullable=False),
        sa.Column("shards", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("activated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('creating', 'building', 'active', 'retired', 'dropped')", name=op.f("ck_vector_indexes_state")
        ),
        sa.PrimaryKeyConstraint("index_id", name=op.f("pk_vector_indexes")),
        sa.UniqueConstraint("generation", name=op.f("uq_vector_indexes_generation")),
    )
    op.create_index(
        "uq_vector_indexes_active",
        "vector_indexes",
        ["state"],
        unique=True,
        postgresql_where=sa.text("state = 'active'"),
    )
    op.create_table(
        "embedding_runs",
        sa.Column("document_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("pages", sa.Integer(), nullable=True),
        sa.Column("chunk_count", sa.Integer(), nullable=False),
        sa.Column("chunks_sha256", sa.Text(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("done", sa.Integer(), server_default="0", nullable=False),
        sa.Column("embedded_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("progressed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("begun_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("document_id", "version", name=op.f("pk_embedding_runs")),
    )
    op.create_table(
        "document_embeddings",
        sa.Column("index_id", sa.Text(), nullable=False),
        sa.Column("document_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("ordinal", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("page", sa.Integer(), nullable=True),
        sa.Column("embedding_id", sa.Text(), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("index_id", "document_id", "version", "ordinal", name=op.f("pk_document_embeddings")),
    )
    op.create_index(
        op.f("ix_document_embeddings_document_id"), "document_embeddings", ["document_id", "version"], unique=False
    )
    # Floats do not compress: trying costs a third of the time of an insert.
    op.execute("ALTER TABLE document_embeddings ALTER COLUMN vector SET STORAGE EXTERNAL")


def downgrade() -> None:
    op.drop_table("document_embeddings")
    op.drop_table("embedding_runs")
    op.drop_table("vector_indexes")
    schema.drop_v1(op)
