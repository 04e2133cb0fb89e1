"""The verbs that take back, map again and rehearse, as a person runs them."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from migration_assets.adoption import read_adoption
from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets.legacy import PulledRow
from migration_assets.manifest import Manifest
from migration_assets.mappings import discover
from migration_assets.medplum import MedplumClient
from migration_assets.pipeline import migrate
from migration_assets.run import Run
from migration_assets_tests.cli.command import migration
from migration_assets_tests.conftest import SECRET
from migration_assets_tests.scripted import ScriptedSource

CANARY = "Kanarienvogel"


@pytest.fixture
def migrated(running: Sandbox, tmp_path: Path) -> dict[str, str]:
    """Settings of a folder in which one organization was migrated by run 1."""
    running.reset()
    url = f"sqlite:///{tmp_path / 'manifest.db'}"
    (tmp_path / "adoption.toml").write_text('Organization = "backfill"', encoding="utf-8")
    (tmp_path / "source.yaml").write_text(
        "name: x\nbase_url: http://127.0.0.1:9\nauth: {type: none}\n"
        "defaults: {path: '{stream}', select: rows, id: id, pager: {type: none}}\nstreams: []\n",
        encoding="utf-8",
    )
    mapping = discover()["Organization"]
    manifest = Manifest(url, clock=lambda: datetime.now(UTC))
    number = manifest.start_run("a-dagster-run", pipeline_version="0")
    content = {**mapping.examples[0], "name": CANARY}
    pulled = PulledRow("O1", content, None, False, None)
    manifest.land(mapping.stream, [pulled], run_id=number, reopen=True)
    migrate(
        Run(
            id=number,
            label="a-dagster-run",
            manifest=manifest,
            puller=ScriptedSource(),
            adoption=read_adoption('Organization = "backfill"'),
            fhir=MedplumClient(running.base_url, running.client_id, SecretStr(SECRET)),
            deadline_seconds=30,
        ),
        mapping,
    )
    manifest.close()
    return {
        "MIGRATION_MANIFEST_URL": url,
        "MIGRATION_SOURCE": str(tmp_path / "source.yaml"),
        "MIGRATION_ADOPTION": str(tmp_path / "adoption.toml"),
        "MEDPLUM_BASE_URL": running.base_url,
        "MEDPLUM_CLIENT_ID": running.client_id,
        "MEDPLUM_CLIENT_SECRET": SECRET,
    }


def _json(*arguments: str, folder: Path, **settings: str) -> Any:
    done = migration(*arguments, "--json", folder=folder, **settings)
    assert done.returncode == 0, done.stderr
    assert CANARY not in done.stdout + done.stderr
    return json.loads(done.stdout)


def test_undoing_shows_first_and_acts_when_told(
    migrated: dict[str, str], tmp_path: Path, running: Sandbox
) -> None:
    (run,) = _json("undo", "--list", folder=tmp_path, **migrated)
    assert run["wrote"] == [{"type": "Organization", "event": "created", "count": 1}]
    told = _json("undo", "a-dagster-run", folder=tmp_path, **migrated)
    assert (told["done"], told["units"]) == (False, 1)
    assert running.stats()["resources"]["Organization"] == 1
    assert len(_json("undo", "--list", folder=tmp_path, **migrated)) == 1, "looking is no run"
    done = migration("undo", "1", "--yes", folder=tmp_path, **migrated)
    assert done.returncode == 0, done.stderr
    assert "quarantined as undone" in done.stdout
    assert "Organization" not in running.stats()["resources"]
    again = migration("undo", "1", "--yes", folder=tmp_path, **migrated)
    assert "Nothing of this run stands" in again.stdout
    nobody = migration("undo", "99", folder=tmp_path, **migrated)
    assert nobody.returncode == 2
    assert "--list" in nobody.stderr


def test_a_rehearsal_and_a_version_change_show_no_patient_data_unasked(
    migrated: dict[str, str], tmp_path: Path
) -> None:
    said = _json("rehearse", "Organization", "--limit", "5", folder=tmp_path, **migrated)
    assert said["types"][0]["states"] == {"unchanged": 1}
    manifest = Manifest(migrated["MIGRATION_MANIFEST_URL"], clock=lambda: datetime.now(UTC))
    with manifest._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE units SET mapping_version = '0.9.0'")
        connection.exec_driver_sql("UPDATE targets SET fingerprint = 'other'")
    manifest.close()
    change = _json("preview", "Organization", "--since-version", folder=tmp_path, **migrated)
    assert (change["rows"], change["versions_before"]) == (1, {"0.9.0": 1})
    done = _json("remap", "Organization", folder=tmp_path, **migrated)
    assert (done["reopened"], done["resources"]) == (1, {"unchanged": 1})
