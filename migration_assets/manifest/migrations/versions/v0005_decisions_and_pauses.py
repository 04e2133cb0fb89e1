"""What people decided about units that did not arrive, and streams paused for too many of them."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add both tables, empty, and to targets the version that a person lets us write over."""
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "decisions",
        sa.Column("id", number, primary_key=True),
        sa.Column("unit_id", sa.BigInteger, nullable=False, index=True),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("field", sa.Text),
        sa.Column("decided_at", sa.BigInteger, nullable=False),
        sa.Column("decided_by", sa.Text, nullable=False),
        sa.Column("owner", sa.Text),
        sa.Column("note", sa.Text),
        sa.Column("choice", sa.Text),
        sa.Column("approver", sa.Text),
        sa.Column("due", sa.Text),
        sa.Column("overwrites", sa.Boolean, nullable=False),
        sa.Column("believed", sa.BigInteger, index=True),
    )
    op.create_table(
        "pauses",
        sa.Column("id", number, primary_key=True),
        sa.Column("stream", sa.Text, nullable=False, index=True),
        sa.Column("run_id", sa.BigInteger, nullable=False),
        sa.Column("paused_at", sa.BigInteger, nullable=False),
        sa.Column("failed", sa.BigInteger, nullable=False),
        sa.Column("seen", sa.BigInteger, nullable=False),
        sa.Column("reasons", sa.Text, nullable=False),
        sa.Column("resumed_at", sa.BigInteger),
        sa.Column("resumed_by", sa.Text),
        sa.Column("note", sa.Text),
    )
    op.add_column("targets", sa.Column("overwrites", sa.Text))
