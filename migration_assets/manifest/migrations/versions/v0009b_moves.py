"""What others were linked to may come under another id: their links are then made again."""

import sqlalchemy as sa
from alembic import op

revision = "0009b"
down_revision = "0009a"


def upgrade() -> None:
    """Add the tables; of what was linked before, only our own resources are known."""
    op.create_table(
        "borrowed",
        sa.Column("token", sa.Text, nullable=False),
        sa.Column("fhir_id", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("token", "fhir_id"),
    )
    op.create_table(
        "moved",
        sa.Column("stream", sa.Text, nullable=False),
        sa.Column("token", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("stream", "token"),
    )
    op.create_index(
        "ix_targets_former_id",
        "targets",
        ["former_id"],
        sqlite_where=sa.text("former_id IS NOT NULL"),
        postgresql_where=sa.text("former_id IS NOT NULL"),
    )
