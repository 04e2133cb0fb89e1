"""``migration reconcile`` as a person runs it."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner, Result

from migration_assets.adoption import read_adoption
from migration_assets.cli.verbs import VERBS
from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets.legacy import PulledRow
from migration_assets.manifest import Manifest
from migration_assets.mappings import discover
from migration_assets.medplum import MedplumClient
from migration_assets.pipeline import migrate
from migration_assets.run import Run
from migration_assets_tests.conftest import SECRET
from migration_assets_tests.scripted import ScriptedSource

CANARY = "Kanarienvogel"


def test_what_is_missing_is_told_repaired_and_then_agrees(
    running: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the finding to the evidence, with exit codes; no name is ever printed."""
    for name, value in _migrated(running, tmp_path).items():
        monkeypatch.setenv(name, value)
    client = MedplumClient(running.base_url, running.client_id, SecretStr(SECRET))
    clean = migration("reconcile", "Organization")
    assert (clean.exit_code, "Everything agrees" in clean.output) == (0, True), clean.output
    (held,) = client.search("Organization", {})
    request = {"method": "DELETE", "url": f"Organization/{held['id']}"}
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": [{"request": request}]}
    client.post_bundle(json.dumps(bundle).encode(), 1)
    found = migration("reconcile", "Organization", "--deep", "--references")
    assert found.exit_code == 1
    assert "1 missing" in found.stdout
    assert "--repair missing" in found.stdout
    asked = ("reconcile", "Organization", "--json", "--repair", "missing")
    dry = migration(*asked)
    assert _repaired(dry.stdout) == [{"repair": "missing", "done": 1, "left_alone": {}}]
    assert client.search("Organization", {}) == []
    done = migration(*asked, "--yes")
    assert _repaired(done.stdout) == [{"repair": "missing", "done": 1, "left_alone": {}}]
    assert [each["id"] for each in client.search("Organization", {})] == [held["id"]]
    assert migration("reconcile", "Organization").exit_code == 0
    listed = migration("reconcile", "--list", "--json")
    verdicts = [each["agrees"] for each in json.loads(listed.stdout)]
    assert (verdicts[0], verdicts[-1], False in verdicts) == (True, True, True)
    shown = migration("reconcile", "--list")
    assert (shown.exit_code, shown.stdout.count("Organization")) == (0, len(verdicts))
    said = (clean, found, dry, done, listed, shown)
    assert CANARY not in "".join(each.output for each in said)


def migration(*arguments: str) -> Result:
    """Run the command in this process, which saves its start."""
    return CliRunner().invoke(VERBS, list(arguments))


def _repaired(output: str) -> Any:
    return json.loads(output)["repaired"]


def _migrated(running: Sandbox, folder: Path) -> dict[str, str]:
    """Settings of a folder in which one organization was migrated."""
    url = f"sqlite:///{folder / 'manifest.db'}"
    (folder / "adoption.toml").write_text('Organization = "backfill"', encoding="utf-8")
    (folder / "source.yaml").write_text(
        "name: x\nbase_url: http://127.0.0.1:9\nauth: {type: none}\n"
        "defaults: {path: '{stream}', select: rows, id: id, pager: {type: none}}\nstreams: []\n",
        encoding="utf-8",
    )
    mapping = discover()["Organization"]
    manifest = Manifest(url, clock=lambda: datetime.now(UTC))
    number = manifest.start_run("test", pipeline_version="0")
    pulled = PulledRow("O1", {**mapping.examples[0], "name": CANARY}, None, False, None)
    manifest.land(mapping.stream, [pulled], run_id=number, reopen=True)
    run = Run(
        id=number,
        label="test",
        manifest=manifest,
        puller=ScriptedSource(),
        adoption=read_adoption('Organization = "backfill"'),
        fhir=MedplumClient(running.base_url, running.client_id, SecretStr(SECRET)),
        deadline_seconds=30,
    )
    migrate(run, mapping)
    manifest.close()
    return {
        "MIGRATION_MANIFEST_URL": url,
        "MIGRATION_SOURCE": str(folder / "source.yaml"),
        "MIGRATION_ADOPTION": str(folder / "adoption.toml"),
        "MEDPLUM_BASE_URL": running.base_url,
        "MEDPLUM_CLIENT_ID": running.client_id,
        "MEDPLUM_CLIENT_SECRET": SECRET,
    }
