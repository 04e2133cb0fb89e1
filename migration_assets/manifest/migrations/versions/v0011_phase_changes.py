"""Who moved which type to which phase, on what evidence; and what front ends were told."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add both tables, empty."""
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "phase_changes",
        sa.Column("id", number, primary_key=True),
        sa.Column("resource_type", sa.Text, nullable=False, index=True),
        sa.Column("was", sa.Text, nullable=False),
        sa.Column("becomes", sa.Text, nullable=False),
        sa.Column("began_at", sa.BigInteger, nullable=False),
        sa.Column("applied_at", sa.BigInteger),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("forced", sa.Boolean, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("evidence", sa.Text, nullable=False),
    )
    op.create_table(
        "flag_publications",
        sa.Column("id", number, primary_key=True),
        sa.Column("published_at", sa.BigInteger, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("flags", sa.Text, nullable=False),
        sa.Column("written", sa.Text, nullable=False),
    )
