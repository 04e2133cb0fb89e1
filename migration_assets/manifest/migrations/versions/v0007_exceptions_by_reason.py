"""Exceptions are counted from an index of their own: of 10 million units it took seconds."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the index; units without a reason are not in it."""
    has_reason = sa.text("reason IS NOT NULL")
    op.create_index(
        "ix_units_exceptions",
        "units",
        ["stream", "state", "reason", "field", "id"],
        sqlite_where=has_reason,
        postgresql_where=has_reason,
    )
