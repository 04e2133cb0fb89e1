"""Sweeps in Dagster: what vanished at the source is removed, and a refusal stops its type alone."""

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
from migration_assets.defs.sweeps import SWEEP_JOB
from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets.legacy import Source, load_description
from migration_assets.manifest import State
from migration_assets.mapping import Mapping
from migration_assets.medplum import MedplumClient
from migration_assets.settings import Settings
from migration_assets_tests.conftest import SECRET, Clock
from migration_assets_tests.scripted import NOW, ORGANIZATIONS, PATIENTS, ScriptedSource

MAPPINGS: dict[str, Mapping[Any]] = {"Organization": ORGANIZATIONS, "Patient": PATIENTS}
TIMELESS = """
name: scripted
base_url: https://scripted.example
auth: {type: none}
defaults: {path: "{stream}", select: rows, id: id}
"""
TIMED = TIMELESS.replace(
    "id: id}", "id: id, cursor: {field: at, param: since, precision_seconds: 0.001}}"
)


@dataclass(frozen=True)
class ScriptedConnections(Connections):
    """The real connections, but for a source that serves what the test scripts."""

    served: ScriptedSource | None = None
    project: Sandbox | None = None
    described: str = TIMED

    def source(self) -> Source:
        """The description of the test."""
        return load_description(self.described)

    def puller(self, manifest: Any = None) -> Any:
        """The script."""
        return self.served

    def adoption(self) -> Adoption:
        """Everything is delivered."""
        return read_adoption('Organization = "backfill"\nPatient = "backfill"')

    def medplum(self, manifest: Any = None) -> MedplumClient | None:
        """The sandbox."""
        assert self.project is not None
        return MedplumClient(self.project.base_url, self.project.client_id, SecretStr(SECRET))


@pytest.fixture
def source() -> ScriptedSource:
    made = ScriptedSource()
    for number in range(10):
        made.put("organizations", f"O{number}", at=number)
        made.put("patients", f"P{number}", at=number)
    return made


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


def ran(
    connections: Connections,
    instance: dg.DagsterInstance,
    *,
    job: str = "__ASSET_JOB",
    config: dict[str, Any] | None = None,
) -> dg.ExecuteInProcessResult:
    made = build_definitions(connections=connections, mappings=MAPPINGS)
    names = ["medplum__Organization", "medplum__Patient"]
    return made.resolve_job_def(job).execute_in_process(
        instance=instance,
        partition_key="2026-01-01",
        run_config={"ops": {name: {"config": config} for name in names}} if config else None,
        raise_on_error=False,
    )


def states(connections: Connections, stream: str) -> dict[State, int]:
    with connections.manifest() as manifest:
        balance = manifest.balances()[stream]
    assert balance.holds
    return {state: number for state, number in balance.by_state.items() if number}


def told(instance: dg.DagsterInstance, kind: str) -> Any:
    """The metadata of a type's last materialization."""
    event = instance.get_latest_materialization_event(dg.AssetKey(["medplum", kind]))
    assert event is not None
    assert event.asset_materialization is not None
    return event.asset_materialization.metadata


def test_the_sweep_job_removes_from_medplum_what_vanished_at_the_source(
    connections: ScriptedConnections, source: ScriptedSource, instance: dg.DagsterInstance
) -> None:
    client = connections.medplum()
    assert client is not None
    assert ran(connections, instance).success
    source.drop("patients", "P3")
    source.put("patients", "P4", at=4, family="changed in silence")
    assert ran(connections, instance, job=SWEEP_JOB).success
    assert client.count("Patient") == 10, "one silence proves nothing"
    assert ran(connections, instance, job=SWEEP_JOB).success
    assert client.count("Patient") == 9
    assert told(instance, "Patient")["sweep/gone"].value == 1
    assert told(instance, "Organization")["sweep/absent"].value == 0
    (changed,) = client.search("Patient", {"family": "changed in silence"})
    assert changed["name"][0]["family"] == "changed in silence"


def test_a_refused_sweep_says_what_to_do_and_deletes_nothing(
    connections: ScriptedConnections, source: ScriptedSource, instance: dg.DagsterInstance
) -> None:
    assert ran(connections, instance).success
    source.rows["organizations"] = source.rows["organizations"][:4]
    result = ran(connections, instance, job=SWEEP_JOB)
    assert not result.success
    (failed,) = result.get_failed_step_keys()
    assert failed == "medplum__Organization"
    assert states(connections, "organizations") == {State.MIGRATED: 10}
    allowed = {"sweep": True, "allow_missing": 6}
    assert ran(connections, instance, job=SWEEP_JOB, config=allowed).success
    assert ran(connections, instance, job=SWEEP_JOB, config=allowed).success
    client = connections.medplum()
    assert client is not None
    assert client.count("Organization") == 4


def test_a_stream_without_a_change_time_is_swept_whatever_the_window(
    connections: ScriptedConnections, source: ScriptedSource, instance: dg.DagsterInstance
) -> None:
    """No filter and no tombstone: only a whole reading can tell that a row is gone."""
    timeless = ScriptedConnections(
        connections.settings,
        clock=connections.clock,
        served=source,
        project=connections.project,
        described=TIMELESS,
    )
    assert ran(timeless, instance).success
    source.drop("patients", "P3")
    for _ in range(2):
        assert ran(timeless, instance, config={"incremental": True}).success
    client = connections.medplum()
    assert client is not None
    assert client.count("Patient") == 9
    with connections.manifest() as manifest:
        assert "2026-01-01" in manifest.pulled_windows("patients")
        assert manifest.high_water_mark("patients") is not None, "the sensor asks for it"


def test_at_night_each_type_is_swept_in_a_run_of_its_own(
    connections: ScriptedConnections, instance: dg.DagsterInstance
) -> None:
    """One refused sweep would otherwise keep every later type from its own."""
    made = build_definitions(connections=connections, mappings=MAPPINGS)
    schedule = made.resolve_schedule_def("nightly_sweep")
    context = dg.build_schedule_context(
        instance=instance,
        resources={"connections": connections},
        scheduled_execution_time=NOW,
        repository_def=made.get_repository_def(),
    )
    requests = list(schedule.evaluate_tick(context).run_requests or [])
    assert len({each.run_key for each in requests}) == 2
    assert [each.asset_selection for each in requests] == [
        [dg.AssetKey(["medplum", "Organization"])],
        [dg.AssetKey(["medplum", "Patient"])],
    ]
