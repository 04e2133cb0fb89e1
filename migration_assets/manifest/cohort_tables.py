"""The table of who was in which cohort; empty where none is declared.

Belongs here: its definition. Does not belong here: queries (``cohorts``).
"""

import sqlalchemy as sa

from migration_assets.manifest.schema import metadata

cohort_members = sa.Table(
    "cohort_members",
    metadata,
    sa.Column("unit_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("cohort", sa.Text, nullable=False),  # its name; empty: in none
    sa.Column("declaration", sa.Text, nullable=False),  # digest of the terms that it was told by
    sa.Column("noted_at", sa.BigInteger, nullable=False),
)
sa.Index("ix_cohort_members_cohort", cohort_members.c.declaration, cohort_members.c.cohort)
