"""Cutovers, step by step, with their evidence."""

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Add nothing yet."""
