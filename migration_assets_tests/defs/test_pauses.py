"""Polling with a paused stream: it is left out and named, and the others go on."""

import dagster as dg
import pytest

from migration_assets.connections import Connections
from migration_assets.defs.keys import asset_key
from migration_assets.manifest import State
from migration_assets_tests.defs.test_assets import (
    AFTER_NOW,
    ScriptedConnections,
    connections,
    definitions,
    instance,
    materialize,
    sensor_says,
    skipped,
    source,
    states,
)
from migration_assets_tests.scripted import ScriptedSource

__all__ = ["connections", "instance", "source"]


def pause(connections: Connections, *streams: str) -> None:
    """Pause streams as a run would."""
    with connections.manifest() as manifest:
        for stream in streams:
            manifest.pauses.pause(stream, run_id=1, failed=9, seen=9, reasons={"x": 9})


def test_the_sensor_leaves_a_paused_stream_out_and_starts_the_others(
    connections: ScriptedConnections, source: ScriptedSource, instance: dg.DagsterInstance
) -> None:
    """In one run with it they would be skipped, as what comes after a failure."""
    source.put("organizations", "O1", at=10)
    materialize(connections, instance)
    pause(connections, "organizations")
    source.put("organizations", "O2", at=AFTER_NOW)
    assert "Paused: Organization" in skipped(sensor_says(connections, instance))
    source.put("patients", "P9", at=AFTER_NOW)
    said = sensor_says(connections, instance)
    assert isinstance(said, dg.SensorResult)
    (request,) = said.run_requests or []
    assert request.asset_selection == [asset_key("Patient")]
    job = definitions(connections).resolve_job_def("incremental_pull")
    result = job.execute_in_process(
        instance=instance,
        run_config=request.run_config,
        tags=request.tags,
        partition_key=request.partition_key,
        asset_selection=request.asset_selection,
    )
    assert result.success
    assert states(connections, "patients") == {State.MIGRATED: 1}
    assert states(connections, "organizations") == {State.MIGRATED: 1}


@pytest.mark.parametrize("by", ["sensor", "schedule"])
def test_with_everything_paused_no_run_is_started(
    connections: ScriptedConnections, source: ScriptedSource, instance: dg.DagsterInstance, by: str
) -> None:
    source.put("organizations", "O1", at=10)
    materialize(connections, instance)
    pause(connections, "organizations", "patients")
    if by == "sensor":
        assert "Paused: Organization, Patient" in skipped(sensor_says(connections, instance))
        return
    schedule = definitions(connections).resolve_schedule_def("nightly_pull")
    context = dg.build_schedule_context(instance=instance, resources={"connections": connections})
    said = schedule(context)
    assert isinstance(said, dg.SkipReason)
    assert "Paused" in str(said.skip_message)


def test_materializing_a_paused_type_fails_with_what_to_do(
    connections: ScriptedConnections, source: ScriptedSource, instance: dg.DagsterInstance
) -> None:
    source.put("organizations", "O1", at=10)
    pause(connections, "organizations")
    result = materialize(connections, instance)
    (failed,) = (each for each in result.all_events if each.is_step_failure)
    told = failed.step_failure_data.user_failure_data
    assert "migration resume Organization" in str(told and told.description)
    with connections.manifest() as manifest:
        assert manifest.balances() == {}
