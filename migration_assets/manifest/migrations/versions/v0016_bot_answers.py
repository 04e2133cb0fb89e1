"""What Bots answered of rows, so that nothing is asked twice."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Add the table, empty."""
    op.create_table(
        "bot_answers",
        sa.Column("unit_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("answer", sa.LargeBinary, nullable=False),
    )
