"""Units tell archived and merged rows and what sweeps saw of them; parents read from the start."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add columns and tables: of the past no row is archived, merged, or missed by a sweep."""
    no, none = sa.false(), sa.text("0")
    op.add_column("units", sa.Column("archived", sa.Boolean, nullable=False, server_default=no))
    op.add_column("units", sa.Column("missed", sa.Integer, nullable=False, server_default=none))
    op.add_column("units", sa.Column("merged_into", sa.Text))
    op.add_column("units", sa.Column("seen_sweep", sa.BigInteger))
    op.create_table(
        "sweeps",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("stream", sa.Text, nullable=False, index=True),
        sa.Column("run_id", sa.BigInteger, nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("last_unit", sa.BigInteger, nullable=False),
        sa.Column("held", sa.BigInteger, nullable=False),
        sa.Column("since", sa.BigInteger),
        sa.Column("until", sa.BigInteger),
        sa.Column("verdict", sa.Text),
        sa.Column("finished_at", sa.BigInteger),
        sa.Column("rows", sa.BigInteger),
        sa.Column("absent", sa.BigInteger),
        sa.Column("gone", sa.BigInteger),
    )
    op.create_table(
        "parents",
        sa.Column("stream", sa.Text, primary_key=True),
        sa.Column("parent", sa.Text, primary_key=True),
        sa.Column("read_at", sa.BigInteger, nullable=False),
    )
