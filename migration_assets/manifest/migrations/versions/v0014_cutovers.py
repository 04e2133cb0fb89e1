"""Cutovers, step by step, with their evidence."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Add both tables, empty."""
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "cutovers",
        sa.Column("id", number, primary_key=True),
        sa.Column("resource_type", sa.Text, nullable=False, index=True),
        sa.Column("cohort", sa.Text),
        sa.Column("began_at", sa.BigInteger, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("plan", sa.Text, nullable=False),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("ended_by", sa.Text),
        sa.Column("outcome", sa.Text),
        sa.Column("reason", sa.Text),
    )
    op.create_table(
        "cutover_steps",
        sa.Column("id", number, primary_key=True),
        sa.Column("cutover_id", sa.BigInteger, nullable=False, index=True),
        sa.Column("step", sa.Text, nullable=False),
        sa.Column("began_at", sa.BigInteger, nullable=False),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text),
        sa.Column("said", sa.Text),
        sa.Column("evidence", sa.Text, nullable=False),
    )
