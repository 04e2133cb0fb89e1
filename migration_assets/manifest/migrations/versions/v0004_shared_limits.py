"""Processes that share a credential share its limits: requests made, and the ledger of a quota."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add both tables, empty: what was spent before is not counted."""
    op.create_table(
        "requests_made",
        sa.Column("budget", sa.Text, primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("depth", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "ledgers",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("written_at", sa.BigInteger, nullable=False),
    )
