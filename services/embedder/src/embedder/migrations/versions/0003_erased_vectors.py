"""How many vectors were erased from each collection, where they linger."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision: str | None = "0002"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.create_table(
        "erased_vectors",
        sa.Column("index_id", sa.Text(), nullable=False),
        sa.Column("shard", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("vectors", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("index_id", "shard", name=op.f("pk_erased_vectors")),
    )


def downgrade() -> None:
    op.drop_table("erased_vectors")
