"""Events that services sent to the inbox."""

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add nothing yet."""
