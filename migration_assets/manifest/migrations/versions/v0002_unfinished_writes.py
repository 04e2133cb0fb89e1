"""Targets tell their unfinished writes, and the id to come back under after a deletion."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add both columns; neither is known of the past."""
    op.add_column("targets", sa.Column("sent", sa.Text))
    op.add_column("targets", sa.Column("former_id", sa.Text))
