"""The tables of the evidence: comparisons with Medplum, what each found, what was delivered.

Belongs here: their definition. Does not belong here: the account itself (``schema``), or queries.
"""

import sqlalchemy as sa

from migration_assets.manifest.schema import BigId, metadata

reconciliations = sa.Table(
    "reconciliations",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("resource_type", sa.Text, nullable=False, index=True),
    sa.Column("checked", sa.Text, nullable=False),  # identifiers, content, references
    sa.Column("scope", sa.Text, nullable=False),  # JSON: cohort, sample size, seed
    sa.Column("query", sa.Text, nullable=False),  # the search, as it was asked
    sa.Column("mapping_version", sa.Text),
    sa.Column("started_at", sa.BigInteger, nullable=False),
    sa.Column("finished_at", sa.BigInteger),  # None: it was cut off
    sa.Column("searches", sa.BigInteger),
    sa.Column("points", sa.BigInteger),
    sa.Column("expected", sa.BigInteger),
    sa.Column("found", sa.BigInteger),
    sa.Column("counts", sa.Text),  # JSON: findings by kind
    sa.Column("notes", sa.Text),  # JSON: numbers that are no findings
)

findings = sa.Table(
    "findings",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("reconciliation_id", sa.BigInteger, nullable=False),
    sa.Column("once", sa.LargeBinary(16), nullable=False),  # hash of what makes it one finding
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("token", sa.Text, nullable=False),
    sa.Column("fhir_id", sa.Text, nullable=False),
    sa.Column("path", sa.Text, nullable=False),  # of the element, never what it holds
    sa.Column("expected", sa.Text, nullable=False),
    sa.Column("found", sa.Text, nullable=False),
    sa.Column("unit_id", sa.BigInteger),
    sa.UniqueConstraint("reconciliation_id", "once"),
)

delivered_references = sa.Table(  # of the content Medplum last confirmed; no row: not known
    "delivered_references",
    metadata,
    sa.Column("target_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("named", sa.Text, nullable=False),  # JSON: pairs of element path and token
)
