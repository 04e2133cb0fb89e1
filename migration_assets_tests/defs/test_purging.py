"""Retention in Dagster: the job drops what may go, the schedule is off until it is turned on."""

from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from migration_assets.connections import Connections
from migration_assets.defs.purging import PURGE_JOB, purge_job, purge_schedule
from migration_assets.manifest import Manifest
from migration_assets.manifest.payload import PURGED
from migration_assets.manifest.sealing import new_key
from migration_assets.settings import Settings
from migration_assets_tests.conftest import Clock
from migration_assets_tests.manifest.rows import migrated, row
from migration_assets_tests.scripted import ORGANIZATIONS, PATIENTS

MAPPINGS = (ORGANIZATIONS, PATIENTS)
CANARY = "Kanarienvogel"


@pytest.fixture
def given(tmp_path: Path, clock: Clock) -> dict[str, Any]:
    """The settings of an account: three patients, of whom two arrived."""
    url = f"sqlite:///{tmp_path / 'manifest.db'}"
    manifest = Manifest(url, clock=clock)
    rows = [row(key, name=CANARY) for key in ("P1", "P2", "P3")]
    manifest.land("patients", rows, run_id=1, reopen=False)
    units = manifest.pending_units("patients")[:2]
    manifest.settle([migrated(each) for each in units], run_id=1)
    manifest.close()
    return {"MIGRATION_MANIFEST_URL": url, "MIGRATION_RETENTION": "until_migrated"}


def executed(given: dict[str, Any], clock: Clock) -> dg.ExecuteInProcessResult:
    """Run the job as its schedule would."""
    connections = Connections(Settings.model_validate(given), environ=dict, clock=clock)
    return purge_job(MAPPINGS).execute_in_process(
        resources={"connections": connections}, raise_on_error=False
    )


def gone(given: dict[str, Any], clock: Clock) -> set[str | None]:
    """Keys of the patients whose row is dropped."""
    manifest = Manifest(given["MIGRATION_MANIFEST_URL"], clock=clock)
    units = manifest.landed_units("patients", limit=9)
    manifest.close()
    return {each.key for each in units if each.row is PURGED}


def test_the_job_drops_what_may_go_tells_counts_and_does_it_once(
    given: dict[str, Any], clock: Clock
) -> None:
    result = executed(given, clock)
    assert result.success
    assert gone(given, clock) == {"P1", "P2"}
    (output,) = [each for each in result.all_events if each.is_successful_output]
    metadata = output.step_output_data.metadata
    assert {name: each.value for name, each in metadata.items()} == {"purged/patients": 2}
    manifest = Manifest(given["MIGRATION_MANIFEST_URL"], clock=clock)
    (act,) = manifest.protection.custody.latest()
    manifest.close()
    assert (act.by, act.rows) == (PURGE_JOB, 2)
    again = executed(given, clock)
    (output,) = [each for each in again.all_events if each.is_successful_output]
    assert output.step_output_data.metadata == {}


def test_with_no_policy_set_the_job_drops_nothing(given: dict[str, Any], clock: Clock) -> None:
    """It may be turned on by somebody who only wanted to see what it does."""
    del given["MIGRATION_RETENTION"]
    assert executed(given, clock).success
    assert gone(given, clock) == set()


def test_the_job_fails_with_a_sentence_where_the_keys_do_not_fit(
    given: dict[str, Any], clock: Clock
) -> None:
    def strange(*_args: Any, **_options: Any) -> Any:
        raise RuntimeError(f"row of {CANARY}")

    given["MIGRATION_ENCRYPTION_KEYS"] = "no-key"
    result = executed(given, clock)
    assert not result.success
    assert "no-key" not in _why(result)
    given["MIGRATION_ENCRYPTION_KEYS"] = new_key()
    with pytest.MonkeyPatch.context() as broken:
        broken.setattr("migration_assets.defs.purging.purge", strange)
        result = executed(given, clock)
    assert "unexpected RuntimeError" in _why(result)
    assert CANARY not in "".join(str(each) for each in result.all_events)
    assert gone(given, clock) == set()


def _why(result: dg.ExecuteInProcessResult) -> str:
    (failed,) = [each for each in result.all_events if each.is_step_failure]
    data = failed.step_failure_data.user_failure_data
    return str(data.description if data else failed.step_failure_data.error)


def test_the_schedule_asks_for_the_job_on_sunday_nights_and_is_off_until_turned_on() -> None:
    """Rows must not go because somebody installed a new version."""
    schedule = purge_schedule(purge_job(MAPPINGS))
    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED
    sunday = datetime(2026, 11, 1, 4, 20)  # noqa: DTZ001 - the cron's own wall clock
    assert sunday.strftime("%A") == "Sunday"
    with dg.DagsterInstance.ephemeral() as instance:
        asked = schedule.evaluate_tick(
            dg.build_schedule_context(instance=instance, scheduled_execution_time=sunday)
        )
    assert len(asked.run_requests or ()) == 1
    assert (schedule.job_name, schedule.cron_schedule) == (PURGE_JOB, "20 4 * * 0")
