"""The first account: runs, units, targets, attempts, marks, windows, leases."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create every table of version 0.1."""
    op.create_table(
        "runs",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("pipeline_version", sa.Text, nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("finished_at", sa.BigInteger),
    )
    _units()
    _targets()
    _attempts()
    op.create_table(
        "marks",
        sa.Column("stream", sa.Text, primary_key=True),
        sa.Column("watermark", sa.BigInteger, nullable=False),
        sa.Column("moved_at", sa.BigInteger, nullable=False),
        sa.Column("run_id", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "windows",
        sa.Column("stream", sa.Text, primary_key=True),
        sa.Column("partition", sa.Text, primary_key=True),
        sa.Column("pulled_at", sa.BigInteger, nullable=False),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("run_id", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("renewed_at", sa.BigInteger, nullable=False),
    )


def _units() -> None:
    op.create_table(
        "units",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("stream", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("row_hash", sa.LargeBinary(16), nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("changed_at", sa.BigInteger),
        sa.Column("deleted", sa.Boolean, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("field", sa.Text),
        sa.Column("awaiting", sa.Text),
        sa.Column("mapping_version", sa.Text),
        sa.Column("landed_at", sa.BigInteger, nullable=False),
        sa.Column("seen_run", sa.BigInteger, nullable=False),
        sa.Column("settled_at", sa.BigInteger),
        sa.Column("settled_run", sa.BigInteger),
        sa.UniqueConstraint("stream", "key", name="uq_units_stream_key"),
    )
    op.create_index("ix_units_stream_state_id", "units", ["stream", "state", "id"])
    awaited = sa.text("awaiting IS NOT NULL")
    op.create_index(
        "ix_units_awaiting", "units", ["awaiting"], sqlite_where=awaited, postgresql_where=awaited
    )


def _targets() -> None:
    op.create_table(
        "targets",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("unit_id", sa.BigInteger, nullable=False),
        sa.Column("resource_type", sa.Text, nullable=False),
        sa.Column("token", sa.Text, nullable=False),
        sa.Column("fhir_id", sa.Text),
        sa.Column("version_id", sa.Text),
        sa.Column("fingerprint", sa.Text),
        sa.Column("deleted", sa.Boolean, nullable=False),
        sa.Column("confirmed_at", sa.BigInteger),
        sa.UniqueConstraint("token", name="uq_targets_token"),
    )
    op.create_index("ix_targets_unit_id", "targets", ["unit_id"])


def _attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("unit_id", sa.BigInteger, nullable=False),
        sa.Column("run_id", sa.BigInteger, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("token", sa.Text, nullable=False),
        sa.Column("method", sa.Text, nullable=False),
        sa.Column("bundle", sa.Text, nullable=False),
        sa.Column("entry", sa.Integer, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text),
        sa.Column("fhir_id", sa.Text),
        sa.Column("version_id", sa.Text),
    )
    op.create_index("ix_attempts_unit_id", "attempts", ["unit_id"])
