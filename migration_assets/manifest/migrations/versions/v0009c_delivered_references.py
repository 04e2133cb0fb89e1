"""What each delivered resource refers to, so that every reference can be checked in Medplum."""

import sqlalchemy as sa
from alembic import op

revision = "0009c"
down_revision = "0009b"


def upgrade() -> None:
    """Add the table, empty: of what was delivered before, references are told from the rows."""
    op.create_table(
        "delivered_references",
        sa.Column("target_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("named", sa.Text, nullable=False),
    )
