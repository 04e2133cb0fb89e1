"""A test that begins with a used database begins as one with a new database does."""

from collections.abc import Callable

import psycopg
import pytest
from psycopg import sql

from migration_assets.manifest import Manifest
from migration_assets.manifest.schema import metadata
from migration_assets_tests.conftest import Clock
from migration_assets_tests.manifest.rows import row

pytestmark = pytest.mark.postgres


def _everything(url: str) -> list[object]:
    """All rows, and what number each table gives next."""
    with psycopg.connect(url) as connection:
        rows = [
            connection.execute(sql.SQL("SELECT * FROM {}").format(each)).fetchall()
            for each in map(sql.Identifier, sorted(metadata.tables))
        ]
        numbers = connection.execute(
            "SELECT sequencename, last_value FROM pg_sequences ORDER BY 1"
        ).fetchall()
        return [*rows, *numbers]


def test_no_row_and_no_number_of_one_test_reaches_the_next(
    kept_databases: Callable[[], str], postgres_url: str, clock: Clock
) -> None:
    Manifest(postgres_url, clock=clock).close()
    url = kept_databases()
    leaked = Manifest(url, clock=clock)
    run = leaked.start_run("first", pipeline_version="1")
    leaked.land("patients", [row("P1"), row("P2")], run_id=run, reopen=False)
    assert _everything(url) != _everything(postgres_url)
    assert kept_databases() == url
    assert _everything(url) == _everything(postgres_url)
    leaked.close()


def test_a_database_whose_schema_a_test_changed_is_not_used_again(
    kept_databases: Callable[[], str],
) -> None:
    url = kept_databases()
    with psycopg.connect(url) as connection:
        connection.execute("ALTER TABLE units DISABLE TRIGGER tallies_units_new")
    assert kept_databases() != url
