"""The tables of cutovers: which were begun, and every look that was taken at one of their steps.

Belongs here: their definition. Does not belong here: the account itself (``schema``), or queries.
"""

import sqlalchemy as sa

from migration_assets.manifest.schema import BigId, metadata

cutovers = sa.Table(
    "cutovers",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("resource_type", sa.Text, nullable=False, index=True),  # the mapping's main type
    sa.Column("cohort", sa.Text),  # None: all of the type
    sa.Column("began_at", sa.BigInteger, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("plan", sa.Text, nullable=False),  # JSON: what was declared before it began
    sa.Column("ended_at", sa.BigInteger),  # None: it is under way
    sa.Column("ended_by", sa.Text),
    sa.Column("outcome", sa.Text),
    sa.Column("reason", sa.Text),  # what a person wrote who ended it early
)

cutover_steps = sa.Table(  # a row a look; appended, and ended once
    "cutover_steps",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("cutover_id", sa.BigInteger, nullable=False, index=True),
    sa.Column("step", sa.Text, nullable=False),
    sa.Column("began_at", sa.BigInteger, nullable=False),
    sa.Column("ended_at", sa.BigInteger),  # None: cut off
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text),
    sa.Column("said", sa.Text),  # in a sentence: what was found, or what is waited for
    sa.Column("evidence", sa.Text, nullable=False),  # JSON: counts, times, numbers
)
