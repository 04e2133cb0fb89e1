"""Alembic's entry: runs on the connection ``engine._upgrade`` hands over, in its transaction."""

from alembic import context

from migration_assets.manifest.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=False,  # the caller's transaction is the only one
)
context.run_migrations()
