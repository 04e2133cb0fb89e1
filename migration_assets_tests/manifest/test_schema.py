"""The schema that migrations make is the schema the code believes in."""

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from migration_assets.manifest.engine import open_engine
from migration_assets.manifest.schema import metadata


def test_the_migrations_make_exactly_the_declared_tables(manifest_url: str) -> None:
    """A column declared but never migrated would fail only on a customer's old manifest."""
    engine = open_engine(manifest_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()
