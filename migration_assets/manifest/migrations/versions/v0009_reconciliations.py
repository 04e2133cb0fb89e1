"""What comparisons with Medplum asked and found, kept as evidence for the sign-off."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add both tables, empty."""
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "reconciliations",
        sa.Column("id", number, primary_key=True),
        sa.Column("resource_type", sa.Text, nullable=False, index=True),
        sa.Column("checked", sa.Text, nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("query", sa.Text, nullable=False),
        sa.Column("mapping_version", sa.Text),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("finished_at", sa.BigInteger),
        sa.Column("searches", sa.BigInteger),
        sa.Column("points", sa.BigInteger),
        sa.Column("expected", sa.BigInteger),
        sa.Column("found", sa.BigInteger),
        sa.Column("counts", sa.Text),
        sa.Column("notes", sa.Text),
    )
    op.create_table(
        "findings",
        sa.Column("id", number, primary_key=True),
        sa.Column("reconciliation_id", sa.BigInteger, nullable=False),
        sa.Column("once", sa.LargeBinary(16), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("token", sa.Text, nullable=False),
        sa.Column("fhir_id", sa.Text, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("expected", sa.Text, nullable=False),
        sa.Column("found", sa.Text, nullable=False),
        sa.Column("unit_id", sa.BigInteger),
        sa.UniqueConstraint("reconciliation_id", "once"),
    )
