"""The schema that migrations make is the schema the code believes in, with the rows it had."""

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from migration_assets.manifest import Manifest
from migration_assets.manifest.engine import open_engine
from migration_assets.manifest.payload import canonical, pack, row_hash
from migration_assets.manifest.schema import metadata
from migration_assets_tests.conftest import Clock
from migration_assets_tests.manifest.rows import row

RELEASED = [f"{number:04d}" for number in range(1, 11)]


def test_the_migrations_make_exactly_the_declared_tables(empty_url: str) -> None:
    """A column declared but never migrated would fail only on a customer's old manifest."""
    engine = open_engine(empty_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def _kept_at(url: str, revision: str) -> None:
    """A manifest as that version left it: one migrated patient, one in quarantine."""
    url = url.replace("postgresql://", "postgresql+psycopg://")
    engine = sa.create_engine(url)
    config = Config()
    config.set_main_option("script_location", "migration_assets:manifest/migrations")
    text = canonical({"id": "P1"})
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        unit = {"row_hash": row_hash(text), "payload": pack(text), "at": 1_767_225_600_000_000}
        for key, state, reason in (("P1", "migrated", None), ("P2", "quarantined", "x")):
            connection.execute(
                sa.text(
                    "INSERT INTO units (stream, key, state, reason, revision, row_hash, payload,"
                    " changed_at, deleted, landed_at, seen_run) VALUES ('patients', :key, :state,"
                    " :reason, 1, :row_hash, :payload, :at, :deleted, :at, 1)"
                ),
                {**unit, "key": key, "state": state, "reason": reason, "deleted": False},
            )
        connection.execute(
            sa.text(
                "INSERT INTO targets (unit_id, resource_type, token, fhir_id, version_id,"
                " fingerprint, deleted) VALUES (1, 'Patient', 'Patient|s|P1', 'id-1', 'v1', 'f',"
                " :no)"
            ),
            {"no": False},
        )
        connection.execute(
            sa.text(
                "INSERT INTO marks (stream, watermark, moved_at, run_id) VALUES"
                " ('patients', :at, :at, 1)"
            ),
            {"at": unit["at"]},
        )
    engine.dispose()


@pytest.mark.parametrize("revision", RELEASED)
def test_an_account_of_every_released_version_is_brought_up_with_all_it_knows(
    empty_url: str, revision: str, clock: Clock
) -> None:
    """A clinic is half migrated when the new version comes: nothing may be written again."""
    _kept_at(empty_url, revision)
    manifest = Manifest(empty_url, clock=clock)
    balance = manifest.balances()["patients"]
    assert balance.holds
    assert balance.eligible == 2
    (first, _) = manifest.landed_units("patients", limit=9)
    assert (first.row, first.archived, first.merged_into) == ({"id": "P1"}, False, None)
    assert [each.fhir_id for each in first.targets] == ["id-1"]
    assert manifest.high_water_mark("patients") is not None
    landed = manifest.land("patients", [row("P1")], run_id=2, reopen=False)
    assert (landed.same, landed.changed) == (1, 0)
    sweep = manifest.start_sweep("patients", run_id=3)
    assert manifest.count_absent(sweep) == 2
    manifest.close()
