"""Who sealed or purged payloads, when, and how many."""

import sqlalchemy as sa
from alembic import op

from migration_assets.manifest.schema import BigId

revision = "0009a"
down_revision = "0009"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "custody",
        sa.Column("id", BigId, nullable=False),
        sa.Column("act", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text()),
        sa.Column("terms", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger()),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_custody"),
    )
