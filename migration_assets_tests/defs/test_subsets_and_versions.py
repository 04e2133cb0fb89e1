"""From the Launchpad: some rows only, and a new mapping version without a pull."""

from dataclasses import replace
from typing import Any

import dagster as dg

from migration_assets.defs.build import build_definitions
from migration_assets.manifest import State
from migration_assets_tests.defs.test_assets import (  # noqa: F401 - fixtures
    MAPPINGS,
    ScriptedConnections,
    connections,
    instance,
    materialize,
    source,
    states,
)
from migration_assets_tests.scripted import PATIENTS, ScriptedSource


def _check(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    """The check of Patient."""
    return next(
        each
        for each in result.get_asset_check_evaluations()
        if each.asset_key == dg.AssetKey(["medplum", "Patient"])
    )


def test_a_subset_is_delivered_once_for_the_whole_range_and_the_check_says_so(
    connections: ScriptedConnections,  # noqa: F811
    instance: dg.DagsterInstance,  # noqa: F811
    source: ScriptedSource,  # noqa: F811
) -> None:
    """A limit per window would deliver eleven times as much as was asked for."""
    for n in range(8):
        source.put("patients", f"P{n}", at=n * 40 * 86_400)
    result = materialize(connections, instance, config={"limit": 3})
    assert result.success
    assert states(connections, "patients") == {State.MIGRATED: 3, State.PENDING: 5}
    check = _check(result)
    assert not check.passed
    assert check.severity is dg.AssetCheckSeverity.WARN
    assert "subset" in str(check.metadata["recovery"].value)
    whole = materialize(connections, instance)
    assert _check(whole).passed
    assert State.PENDING not in states(connections, "patients")


def test_a_new_version_is_let_loose_without_a_pull(
    connections: ScriptedConnections,  # noqa: F811
    instance: dg.DagsterInstance,  # noqa: F811
    source: ScriptedSource,  # noqa: F811
) -> None:
    source.put("patients", "P1")
    materialize(connections, instance)
    source.fail_at = 0

    def build(row: Any) -> dict[str, Any]:
        return {**PATIENTS.build(row), "gender": "unknown"}  # type: ignore[dict-item]  # it makes no group

    patients = replace(PATIENTS, build=build, version="2.0.0")
    mappings = {**MAPPINGS, "Patient": patients}
    job = build_definitions(
        connections=connections, mappings=mappings
    ).resolve_implicit_global_asset_job_def()
    names = ["medplum__Organization", "medplum__Patient"]
    result = job.execute_in_process(
        instance=instance,
        partition_key="2026-11-01",
        run_config={"ops": {name: {"config": {"remap": True}} for name in names}},
    )
    (event,) = result.asset_materializations_for_node("medplum__Patient")
    assert event.metadata["remap/reopened"].value == 1
    assert event.metadata["remap/resources_changed"].value == 1
    assert states(connections, "patients") == {State.MIGRATED: 1}
    assert _check(result).passed
