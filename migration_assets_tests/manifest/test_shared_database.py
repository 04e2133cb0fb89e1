"""The manifest beside somebody else's tables: in a schema of its own, or not at all.

Dagster is the real one: its tables are made by dagster-postgres and by its SQLite storage.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import psycopg
import pytest
import yaml

from migration_assets.errors import Permanent
from migration_assets.manifest import Manifest
from migration_assets_tests.conftest import Clock
from migration_assets_tests.manifest.rows import row

_OWN = "?options=-csearch_path%3Dmigration"
_TABLES = """
    SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1
"""


@contextmanager
def _dagster(home: Path, storage: dict[str, object]) -> Iterator[dg.DagsterInstance]:
    home.mkdir(exist_ok=True)
    settings = {"telemetry": {"enabled": False}, "storage": storage}
    (home / "dagster.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


def _on(url: str) -> dict[str, object]:
    return {"postgres": {"postgres_url": url.replace("postgresql:", "postgresql+psycopg2:")}}


def _public(url: str) -> tuple[list[str], str]:
    """The tables of Dagster's schema, and its version."""
    with psycopg.connect(url) as connection:
        tables = [str(name) for (name,) in connection.execute(_TABLES)]
        versions = connection.execute("SELECT version_num FROM public.alembic_version")
        ((version,),) = versions.fetchall()
        return tables, version


@pytest.mark.postgres
@pytest.mark.parametrize("dagster_first", [True, False])
def test_dagster_and_the_manifest_share_a_database_in_two_schemas(
    postgres_url: str, tmp_path: Path, clock: Clock, *, dagster_first: bool
) -> None:
    """Who has one database only gets on with it; neither meets the other's version or runs."""
    if dagster_first:
        with _dagster(tmp_path / "home", _on(postgres_url)):
            pass
    manifest = Manifest(postgres_url + _OWN, clock=clock)
    manifest.land("patients", [row("P1")], run_id=1, reopen=False)
    with _dagster(tmp_path / "home", _on(postgres_url)) as instance:
        theirs = _public(postgres_url)
        assert instance.get_runs_count() == 0
        manifest.start_run("first", pipeline_version="1")
        assert instance.get_runs_count() == 0
    manifest.close()
    again = Manifest(postgres_url + _OWN, clock=clock)
    assert again.balances()["patients"].eligible == 1
    again.close()
    assert _public(postgres_url) == theirs
    assert "units" not in theirs[0]


@pytest.mark.postgres
def test_the_manifest_is_not_made_among_dagsters_tables(
    postgres_url: str, tmp_path: Path, clock: Clock
) -> None:
    """Dagster's version stood for a newer manifest's, and told people to upgrade."""
    with _dagster(tmp_path / "home", _on(postgres_url)):
        before = _public(postgres_url)
    with pytest.raises(Permanent, match="another program keeps its tables"):
        Manifest(postgres_url, clock=clock)
    assert _public(postgres_url) == before


def test_the_manifest_is_not_made_in_dagsters_file(tmp_path: Path, clock: Clock) -> None:
    home = tmp_path / "home"
    with _dagster(home, {"sqlite": {"base_dir": str(home)}}):
        (file,) = home.rglob("runs.db")
    with pytest.raises(Permanent, match="another program keeps its tables"):
        Manifest(f"sqlite:///{file}", clock=clock)
