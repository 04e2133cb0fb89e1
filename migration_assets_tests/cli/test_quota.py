"""What a person learns of the limit: how much is open, how long it takes, who can raise it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from migration_assets.adoption import read_adoption
from migration_assets.demo.medplum_sandbox import Sandbox, start_sandbox
from migration_assets.legacy import PulledRow
from migration_assets.manifest import Manifest, Settlement, State, Target
from migration_assets.reconciliation.open_points import open_points, seconds_at
from migration_assets_tests.cli.command import migration
from migration_assets_tests.scripted import ORGANIZATIONS, PATIENTS

CLIENT, SECRET = "5d1f0f3c-7c55-4a5f-9d0a-6f2b7e1c9a11", "invented"


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    with start_sandbox(None, client_id=CLIENT, client_secret=SECRET, quota_per_minute=50_000) as it:
        yield it


@pytest.fixture
def sandbox(running: Sandbox) -> Sandbox:
    running.change(quota_per_minute=50_000)
    running.refill()
    return running


def landed(manifest: Manifest, stream: str, keys: range) -> None:
    """Rows of a stream, all of them pending."""
    run = manifest.start_run("test", pipeline_version="0")
    rows = [PulledRow(f"K{each}", {"id": f"K{each}"}, None, False, None) for each in keys]
    manifest.land(stream, rows, run_id=run, reopen=False)


def held(manifest: Manifest, stream: str, key: str) -> None:
    """Have Medplum hold the resource of a row, and then land the row changed."""
    (unit,) = manifest.landed_units(stream, limit=1, keys=[key])
    target = Target("Patient", f"Patient|x|{key}", fhir_id="abc", version_id="1")
    settlement = Settlement(
        unit_id=unit.id, revision=unit.revision, state=State.MIGRATED, targets=(target,)
    )
    run = manifest.start_run("test", pipeline_version="0")
    manifest.settle([settlement], run_id=run)
    row = PulledRow(key, {"id": key, "changed": True}, None, False, None)
    manifest.land(stream, [row], run_id=run, reopen=False)


def asked(folder: Path, sandbox: Sandbox | None, *arguments: str, **variables: str) -> Any:
    """The exit code and what ``migration quota`` says."""
    medplum = {
        "MEDPLUM_BASE_URL": sandbox.base_url if sandbox else "",
        "MEDPLUM_CLIENT_ID": CLIENT if sandbox else "",
        "MEDPLUM_CLIENT_SECRET": SECRET if sandbox else "",
    }
    ran = migration("quota", *arguments, folder=folder, **(medplum | variables))
    assert "Traceback" not in ran.stderr
    return ran.returncode, orjson.loads(ran.stdout) if "--json" in arguments else ran.stdout


def test_the_open_work_is_counted_by_what_each_unit_will_cost(manifest: Manifest) -> None:
    landed(manifest, PATIENTS.stream, range(1, 601))
    landed(manifest, ORGANIZATIONS.stream, range(1, 3))
    held(manifest, PATIENTS.stream, "K7")
    deleted = PulledRow("gone", None, None, True, None)
    manifest.land(PATIENTS.stream, [deleted], run_id=1, reopen=False)
    phases = 'Patient = "backfill"\nOrganization = {phase = "backfill", strategy = "exclusive"}'
    adoption = read_adoption(phases)
    organizations, patients = open_points(manifest, [ORGANIZATIONS, PATIENTS], adoption)
    assert (organizations.new, organizations.changed) == (2, 0)
    assert organizations.points == 2 * 100 + 20
    assert (patients.new, patients.changed) == (599, 1)
    assert patients.points == 599 * 140 + 100 + 2 * 20


def test_what_may_not_be_delivered_costs_nothing_and_says_why(manifest: Manifest) -> None:
    landed(manifest, PATIENTS.stream, range(5))
    (patients,) = open_points(manifest, [PATIENTS], read_adoption(""))
    assert (patients.new, patients.points) == (5, 0)
    assert "rehearse" in patients.refusal


@pytest.mark.parametrize(
    ("points", "left", "seconds_left", "expected"),
    [(0, 0, 30, 0), (900, 1_000, 30, 0), (1_001, 1_000, 30, 30), (4_000, 1_000, 30, 150)],
)
def test_work_takes_as_many_windows_as_its_points_need(
    points: int, left: int, seconds_left: float, expected: float
) -> None:
    assert seconds_at(points, 1_000, left, seconds_left) == expected


def test_without_credentials_the_verb_says_what_to_set_and_counts_all_the_same(
    tmp_path: Path,
) -> None:
    code, said = asked(tmp_path, None)
    assert code == 0
    assert "MEDPLUM_CLIENT_SECRET" in said
    assert "fhirQuota" in said
    assert "UserConfiguration" in said


def test_the_limit_is_told_as_the_server_told_it(tmp_path: Path, sandbox: Sandbox) -> None:
    manifest = Manifest(f"sqlite:///{tmp_path / 'manifest.db'}", clock=lambda: datetime.now(UTC))
    landed(manifest, "patients", range(1_000))
    manifest.close()
    (tmp_path / "adoption.toml").write_text('Patient = "backfill"')
    code, said = asked(tmp_path, sandbox, "--json", MIGRATION_ADOPTION="adoption.toml")
    assert code == 0
    assert said["heard"]["points_per_minute"] == 50_000
    assert said["heard"]["left"] == 49_980
    (patients,) = (each for each in said["open"] if each["resource_type"] == "Patient")
    assert said["points"] == patients["points"] == 140_000 + 40
    assert said["seconds"] > 60
    assert "Patient" in asked(tmp_path, sandbox, MIGRATION_ADOPTION="adoption.toml")[1]


def test_a_quota_that_is_spent_is_told_and_not_waited_for(tmp_path: Path, sandbox: Sandbox) -> None:
    sandbox.change(quota_per_minute=10)
    code, said = asked(tmp_path, sandbox, "--json")
    assert code == 0
    assert said["heard"]["left"] == 0


def test_a_server_that_does_not_answer_is_a_failure_with_the_open_work(tmp_path: Path) -> None:
    code, said = asked(
        tmp_path,
        None,
        "--json",
        MEDPLUM_BASE_URL="http://127.0.0.1:9/",
        MEDPLUM_CLIENT_ID=CLIENT,
        MEDPLUM_CLIENT_SECRET=SECRET,
    )
    assert code == 1
    assert said["heard"] is None
    assert "failed" in said["not_heard_because"]
    assert {each["resource_type"] for each in said["open"]} >= {"Patient", "Encounter"}
