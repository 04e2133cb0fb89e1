"""Which cohort a change of phase was of, and who was in which cohort when it was last told."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Add the column, empty: every change so far was of a whole type; and the table, empty."""
    op.add_column("phase_changes", sa.Column("cohort", sa.Text))
    op.create_table(
        "cohort_members",
        sa.Column("unit_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("cohort", sa.Text, nullable=False),
        sa.Column("declaration", sa.Text, nullable=False),
        sa.Column("noted_at", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_cohort_members_cohort", "cohort_members", ["declaration", "cohort"])
