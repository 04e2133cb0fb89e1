"""Events that services sent to the inbox; and of which moment a resource is as it was confirmed."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add both tables, empty, and a column that older targets have nothing to say in."""
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    counts = ("new", "changed", "same", "stale", "quarantined")
    op.create_table(
        "inbox_events",
        sa.Column("id", number, primary_key=True),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("print", sa.LargeBinary(21), nullable=False),
        sa.Column("stream", sa.Text, nullable=False),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        *(sa.Column(each, sa.Integer, nullable=False) for each in counts),
        sa.UniqueConstraint("service", "event"),
    )
    op.create_table(
        "inbox_rows",
        sa.Column("event_id", sa.BigInteger, primary_key=True),
        sa.Column("unit_id", sa.BigInteger, primary_key=True, index=True),
        sa.Column("revision", sa.Integer, nullable=False),
    )
    op.add_column("targets", sa.Column("as_of", sa.BigInteger))
