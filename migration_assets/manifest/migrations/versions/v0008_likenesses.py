"""Patients that may be one person are held: what they have in common, as hashes, is on account."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the table; it fills as units are prepared."""
    op.create_table(
        "likenesses",
        sa.Column("print", sa.LargeBinary(16), nullable=False),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("unit_id", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("print", "rule", "unit_id"),
    )
    op.create_index("ix_likenesses_unit_id", "likenesses", ["unit_id"])
