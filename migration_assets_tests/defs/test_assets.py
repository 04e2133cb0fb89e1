"""Assets on a real Dagster instance: what a person sees and relies on in the UI."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pydantic import SecretStr

from migration_assets.adoption import Adoption, read_adoption
from migration_assets.connections import Connections
from migration_assets.defs.build import build_definitions
from migration_assets.defs.incremental import JOB
from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets.legacy import Source, load_description
from migration_assets.manifest import Manifest, State
from migration_assets.mapping import Mapping
from migration_assets.medplum import MedplumClient
from migration_assets.settings import Settings
from migration_assets_tests.conftest import SECRET, Clock
from migration_assets_tests.scripted import (
    NOW,
    ORGANIZATIONS,
    PATIENTS,
    START,
    ScriptedSource,
)

MAPPINGS: dict[str, Mapping[Any]] = {"Organization": ORGANIZATIONS, "Patient": PATIENTS}
CANARY = "Kanarienvogel"
AFTER_NOW = int((NOW - START).total_seconds()) + 60
DESCRIPTION = """
name: scripted
base_url: https://scripted.example
auth: {type: none}
defaults:
  path: "{stream}"
  select: rows
  id: id
  cursor: {field: at, param: since, tz: UTC, precision_seconds: 0.001, lookback_seconds: 60}
streams: []
"""


@dataclass(frozen=True)
class ScriptedConnections(Connections):
    """The real connections, but for a source that serves what the test scripts."""

    served: ScriptedSource | None = None
    phases: str = 'Organization = "backfill"\nPatient = "backfill"'
    project: Sandbox | None = None

    def source(self) -> Source:
        """A described source with a change time."""
        return load_description(DESCRIPTION)

    def puller(self, manifest: Manifest | None = None) -> Any:
        """The script."""
        return self.served

    def adoption(self) -> Adoption:
        """The phases of the test."""
        return read_adoption(self.phases)

    def medplum(self, manifest: Manifest | None = None) -> MedplumClient | None:
        """The sandbox."""
        if self.project is None:
            return None
        return MedplumClient(self.project.base_url, self.project.client_id, SecretStr(SECRET))


@pytest.fixture
def source() -> ScriptedSource:
    return ScriptedSource()


@pytest.fixture
def connections(
    tmp_path: Path, running: Sandbox, source: ScriptedSource, clock: Clock
) -> ScriptedConnections:
    running.reset()
    settings = Settings.model_validate(
        {
            "MIGRATION_MANIFEST_URL": f"sqlite:///{tmp_path / 'manifest.db'}",
            "MIGRATION_START": "2026-01-01",
        }
    )
    clock.now = NOW
    return ScriptedConnections(settings, clock=clock, served=source, project=running)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def definitions(connections: Connections) -> dg.Definitions:
    return build_definitions(connections=connections, mappings=MAPPINGS)


def materialize(
    connections: Connections,
    instance: dg.DagsterInstance,
    *,
    first: str = "2026-01-01",
    last: str = "2026-11-01",
    config: dict[str, Any] | None = None,
) -> dg.ExecuteInProcessResult:
    job = definitions(connections).resolve_implicit_global_asset_job_def()
    names = ["medplum__Organization", "medplum__Patient"]
    return job.execute_in_process(
        instance=instance,
        tags={
            "dagster/asset_partition_range_start": first,
            "dagster/asset_partition_range_end": last,
        },
        run_config={"ops": {name: {"config": config or {}} for name in names}},
        raise_on_error=False,
    )


def states(connections: Connections, stream: str) -> dict[State, int]:
    with connections.manifest() as manifest:
        balance = manifest.balances()[stream]
    return {state: number for state, number in balance.by_state.items() if number}


def test_one_run_over_a_range_migrates_every_type_in_order(
    connections: ScriptedConnections, source: ScriptedSource, instance: dg.DagsterInstance
) -> None:
    for month in range(10):
        source.put("organizations", f"O{month}", at=month * 2_600_000)
        source.put("patients", f"P{month}", at=month * 2_600_000, organization=f"O{9 - month}")
    result = materialize(connections, instance)
    assert result.success
    assert states(connections, "patients") == {State.MIGRATED: 10}
    done = instance.get_materialized_partitions(dg.AssetKey(["medplum", "Patient"]))
    assert len(done) == 11
    check = next(
        each
        for each in result.get_asset_check_evaluations()
        if each.asset_key.path[-1] == "Patient"
    )
    assert check.check_name == "every_row_accounted_for"
    assert check.passed


def test_a_range_that_fails_midway_keeps_the_partitions_it_finished(
    connections: ScriptedConnections, source: ScriptedSource, instance: dg.DagsterInstance
) -> None:
    """A backfill re-executed from failure then does only what is missing."""
    for n in range(4):
        source.put("organizations", f"O{n}", at=n * 2_600_000)
    for n in range(6):
        source.put("organizations", f"M{n}", at=4 * 2_600_000 + n)
    source.fail_at = 2
    result = materialize(connections, instance)
    assert not result.success
    done = instance.get_materialized_partitions(dg.AssetKey(["medplum", "Organization"]))
    assert done == {"2026-01-01", "2026-02-01", "2026-03-01", "2026-04-01"}
    source.fail_at = None
    assert materialize(connections, instance, first="2026-05-01").success
    assert states(connections, "organizations") == {State.MIGRATED: 10}


def test_a_dry_run_from_the_launchpad_writes_nothing(
    connections: ScriptedConnections,
    source: ScriptedSource,
    instance: dg.DagsterInstance,
    running: Sandbox,
) -> None:
    source.put("organizations", "O1")
    assert materialize(connections, instance, config={"dry_run": True}).success
    assert states(connections, "organizations") == {State.PENDING: 1}
    assert running.stats()["versions"] == 0


def test_a_backfill_hands_over_to_incremental_pulling_by_itself(
    connections: ScriptedConnections, source: ScriptedSource, instance: dg.DagsterInstance
) -> None:
    source.put("organizations", "O1", at=10)
    source.put("patients", "P1", at=10)
    materialize(connections, instance)
    source.put("patients", "P2", at=AFTER_NOW)
    result = materialize(connections, instance, config={"incremental": True})
    assert result.success
    assert states(connections, "patients") == {State.MIGRATED: 2}
    with connections.manifest() as manifest:
        assert manifest.high_water_mark("patients") is not None


def sensor_says(
    connections: Connections, instance: dg.DagsterInstance
) -> dg.SensorResult | dg.SkipReason:
    made = definitions(connections)
    sensor = made.resolve_sensor_def("legacy_changes")
    context = dg.build_sensor_context(
        instance=instance, definitions=made, resources={"connections": connections}
    )
    said = sensor(context)
    assert isinstance(said, dg.SensorResult | dg.SkipReason)
    return said


def skipped(said: dg.SensorResult | dg.SkipReason) -> str:
    if isinstance(said, dg.SkipReason):
        return str(said.skip_message)
    assert not said.run_requests
    return str(said.skip_reason.skip_message if said.skip_reason else "")


def test_the_sensor_starts_nothing_until_the_first_backfill(
    connections: ScriptedConnections, source: ScriptedSource, instance: dg.DagsterInstance
) -> None:
    assert "materialize their partitions first" in skipped(sensor_says(connections, instance))


def test_the_sensor_starts_one_run_for_a_change_and_none_for_quiet(
    connections: ScriptedConnections, source: ScriptedSource, instance: dg.DagsterInstance
) -> None:
    source.put("organizations", "O1", at=10)
    materialize(connections, instance)
    assert "No change" in skipped(sensor_says(connections, instance))
    source.put("patients", "P9", at=AFTER_NOW)
    said = sensor_says(connections, instance)
    assert isinstance(said, dg.SensorResult)
    (request,) = said.run_requests or []
    job = definitions(connections).resolve_job_def(JOB)
    result = job.execute_in_process(
        instance=instance,
        run_config=request.run_config,
        tags=request.tags,
        partition_key=request.partition_key,
    )
    assert result.success
    assert states(connections, "patients") == {State.MIGRATED: 1}
    assert "No change" in skipped(sensor_says(connections, instance))


def test_a_source_that_is_down_is_a_tick_message_and_a_pause_not_a_run_storm(
    connections: ScriptedConnections, source: ScriptedSource, instance: dg.DagsterInstance
) -> None:
    source.put("organizations", "O1", at=10)
    materialize(connections, instance)
    source.fail_at = 0
    said = sensor_says(connections, instance)
    assert "went down" in skipped(said)
    assert isinstance(said, dg.SensorResult)
    assert '"failures": 1' in str(said.cursor)


def test_no_patient_data_reaches_the_event_log(
    connections: ScriptedConnections,
    source: ScriptedSource,
    instance: dg.DagsterInstance,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The UI has no access control: what stands in an event, everybody reads."""
    source.put("organizations", CANARY, name="crash")
    source.put("patients", "P1", family=CANARY)
    source.put("patients", "P2", family=CANARY * 300)
    source.put("patients", "P3", family=CANARY, organization=CANARY)
    result = materialize(connections, instance)
    assert result.success
    events = "\n".join(str(each) for each in instance.all_logs(result.run_id))
    assert "medplum__Patient" in events
    assert CANARY not in events
    assert CANARY not in caplog.text
    assert states(connections, "patients")[State.QUARANTINED] == 2


def test_an_error_nobody_expected_does_not_take_a_patient_into_the_event_log(
    connections: ScriptedConnections,
    source: ScriptedSource,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where DAGSTER_REDACT_USER_CODE_ERRORS was forgotten: a library may quote a row."""

    def broken(*_: object, **_named: object) -> None:
        raise ValueError(CANARY)

    monkeypatch.setattr(source, "pages", broken)
    result = materialize(connections, instance)
    assert not result.success
    events = "\n".join(str(each) for each in instance.all_logs(result.run_id))
    assert "unexpected ValueError" in events
    assert CANARY not in events


def test_the_account_after_a_run_is_private(
    connections: ScriptedConnections, source: ScriptedSource, instance: dg.DagsterInstance
) -> None:
    source.put("organizations", "O1")
    materialize(connections, instance)
    with connections.manifest() as manifest:
        assert isinstance(manifest, Manifest)
        assert manifest.pulled_windows("organizations").keys() >= {"2026-01-01", "2026-11-01"}
