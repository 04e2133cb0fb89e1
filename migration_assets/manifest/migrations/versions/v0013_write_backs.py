"""What is written back to the legacy system."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Add the table, empty."""
    op.create_table(
        "write_backs",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("resource_type", sa.Text, nullable=False),
        sa.Column("fhir_id", sa.Text, nullable=False),
        sa.Column("version_id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("field", sa.Text),
        sa.Column("unit_id", sa.BigInteger, index=True),
        sa.Column("token", sa.Text),
        sa.Column("key", sa.Text),
        sa.Column("versions", sa.Text, nullable=False),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("sent_at", sa.BigInteger),
        sa.Column("settled_at", sa.BigInteger),
        sa.Column("settled_run", sa.BigInteger),
        sa.Column("choice", sa.Text),
        sa.Column("decided_at", sa.BigInteger),
        sa.Column("decided_by", sa.Text),
        sa.Column("note", sa.Text),
        sa.UniqueConstraint("resource_type", "fhir_id", "version_id", "kind"),
    )
    op.create_index("ix_write_backs_state", "write_backs", ["resource_type", "state", "id"])
