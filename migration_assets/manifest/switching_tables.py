"""The tables of the adoption: which type was moved to which phase, and what was published of it.

Belongs here: their definition. Does not belong here: the account itself (``schema``), or queries.
"""

import sqlalchemy as sa

from migration_assets.manifest.schema import BigId, metadata

phase_changes = sa.Table(  # appended; only ``applied_at`` is set later
    "phase_changes",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("resource_type", sa.Text, nullable=False, index=True),
    sa.Column("cohort", sa.Text),  # None: the type, but for its cohorts
    sa.Column("was", sa.Text, nullable=False),
    sa.Column("becomes", sa.Text, nullable=False),
    sa.Column("began_at", sa.BigInteger, nullable=False),
    sa.Column("applied_at", sa.BigInteger),  # None: cut off before adoption.toml said so
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("forced", sa.Boolean, nullable=False),
    sa.Column("reason", sa.Text),  # what a person wrote; never empty if forced
    sa.Column("evidence", sa.Text, nullable=False),  # JSON: counts, times, numbers
)

flag_publications = sa.Table(  # only what was written: the same flags again are none
    "flag_publications",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("published_at", sa.BigInteger, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("flags", sa.Text, nullable=False),  # JSON, as front ends get it
    sa.Column("written", sa.Text, nullable=False),  # JSON: where, and how that went
)
