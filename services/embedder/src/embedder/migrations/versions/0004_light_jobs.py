"""Jobs say whether they are light: these have places of their own."""

from alembic import op
from messaging import schema

revision = "0004"
down_revision: str | None = "0003"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    schema.create_v3(op)


def downgrade() -> None:
    schema.drop_v3(op)
