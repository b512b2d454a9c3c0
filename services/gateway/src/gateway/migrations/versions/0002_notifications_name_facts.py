"""The outbox's notifications name the facts: what is only shown need not be sent at once."""

from alembic import op
from messaging import schema

revision = "0002"
down_revision: str | None = "0001"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    schema.create_v2(op)


def downgrade() -> None:
    schema.drop_v2(op)
