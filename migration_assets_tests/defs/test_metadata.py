"""Metadata that plots: numbers per way in, which no other way in blots out, and stock values."""

from datetime import timedelta
from typing import Any

import dagster as dg

from migration_assets.connections import Connections
from migration_assets.defs.keys import asset_key
from migration_assets_tests.conftest import Clock
from migration_assets_tests.defs.test_assets import (
    AFTER_NOW,
    CANARY,
    ScriptedConnections,
    connections,
    instance,
    materialize,
    source,
)
from migration_assets_tests.scripted import NOW, ScriptedSource

__all__ = ["connections", "instance", "source"]

PATIENT = asset_key("Patient")
DAY = 86_400
FIRST, LAST = "2026-09-01", "2026-11-01"
PER_MONTH = {"2026-09-01": 3, "2026-10-01": 2, "2026-11-01": 1}
CREATED_BY_CONDITION = 140  # points, contract §8
LOOK_UP = 20


def fill(source: ScriptedSource) -> None:
    """Patients changed in each of three months."""
    for number, (month, patients) in enumerate(PER_MONTH.items()):
        for n in range(patients):
            source.put("patients", f"{month}-{n}", at=(245 + 31 * number) * DAY + n, family=CANARY)


def events(instance: dg.DagsterInstance, partition: str) -> list[dict[str, Any]]:
    """The metadata of every materialization of a partition of Patient, newest first."""
    wanted = dg.AssetRecordsFilter(PATIENT, asset_partitions=[partition])
    records = instance.fetch_materializations(wanted, limit=100).records
    found = [each.asset_materialization for each in records]
    return [
        {name: value.value for name, value in each.metadata.items()}
        for each in found
        if each is not None
    ]


def newest(instance: dg.DagsterInstance, partition: str, key: str) -> Any:
    """What a plot by partition shows: the newest value there is."""
    return next(each[key] for each in events(instance, partition) if key in each)


def incremental(
    connections: Connections, instance: dg.DagsterInstance, *, first: str = LAST
) -> dict[str, Any]:
    """An incremental pull; what it says of the open partition."""
    config = {"incremental": True}
    assert materialize(connections, instance, first=first, config=config).success
    return events(instance, LAST)[0]


def test_each_partition_plots_its_own_window_and_no_incremental_pull_blots_it_out(
    connections: ScriptedConnections, source: ScriptedSource, instance: dg.DagsterInstance
) -> None:
    """Three rows of an incremental pull over a month of a million would look like a loss."""
    fill(source)
    assert materialize(connections, instance, first=FIRST).success

    def plotted() -> dict[str, int]:
        return {month: newest(instance, month, "window/pulled") for month in PER_MONTH}

    assert plotted() == PER_MONTH
    for month, rows in PER_MONTH.items():
        assert events(instance, month)[0]["window/pulled"] == rows, "the last event of the run, too"
    source.put("patients", "late", at=AFTER_NOW, family=CANARY)
    said = incremental(connections, instance, first="2026-10-01")
    assert said["incremental/pulled"] == 1
    assert plotted() == PER_MONTH
    assert "window/pulled" not in said
    assert newest(instance, "2026-11-01", "rows_held") == 7


def test_numbers_are_numbers_and_say_what_was_spent(
    connections: ScriptedConnections, source: ScriptedSource, instance: dg.DagsterInstance
) -> None:
    """Dagster plots numbers only; a text would leave the plot empty."""
    fill(source)
    source.put("patients", "bad", at=300 * DAY, family=CANARY * 300)
    before = connections.project.stats()["points"] if connections.project else 0
    assert materialize(connections, instance, first=FIRST).success
    spent = (connections.project.stats()["points"] if connections.project else 0) - before
    months = [events(instance, month)[0] for month in PER_MONTH]
    for name in ("pulled", "sent", "unchanged", "quarantined", "points", "legacy_requests"):
        assert all(type(each[f"window/{name}"]) is int for each in months), name
    for name in ("seconds", "rows_per_second"):
        assert all(type(each[f"window/{name}"]) is float for each in months), name
    assert [each["window/sent"] for each in months] == [3, 2, 1]
    assert sum(each["window/quarantined"] for each in months) == 1
    assert sum(each["window/points"] for each in months) == spent
    assert spent >= 6 * CREATED_BY_CONDITION + 3 * LOOK_UP
    assert all(each["window/medplum_requests"] >= 2 for each in months)
    assert [each["window/legacy_requests"] for each in months] == [2, 2, 1]
    again = materialize(connections, instance, first=FIRST)
    assert again.success
    assert newest(instance, "2026-09-01", "window/unchanged") == 3
    assert newest(instance, "2026-09-01", "window/points") == 0


def test_lag_is_told_for_news_only_and_the_age_of_the_mark_always(
    connections: ScriptedConnections,
    source: ScriptedSource,
    instance: dg.DagsterInstance,
    clock: Clock,
) -> None:
    """A quiet source has no lag to plot; a zero would pull every average down."""
    fill(source)
    materialize(connections, instance, first=FIRST)
    clock.now = source.now = NOW + timedelta(hours=1)
    quiet = incremental(connections, instance)
    assert "incremental/lag_seconds" not in quiet
    assert quiet["mark_age_seconds"] >= 3_600
    source.put("patients", "late", at=AFTER_NOW, family=CANARY)
    said = incremental(connections, instance)
    assert said["incremental/lag_seconds"] == 3_600 - 60
    assert said["mark_age_seconds"] == 3_600 - 60


def test_a_pull_over_several_windows_adds_up(
    connections: ScriptedConnections,
    source: ScriptedSource,
    instance: dg.DagsterInstance,
    clock: Clock,
) -> None:
    """After an outage that spans a month's end the first windows would go uncounted."""
    clock.now = source.now = NOW - timedelta(days=20)
    fill(source)
    materialize(connections, instance, first=FIRST, last="2026-10-01")
    clock.now = source.now = NOW
    source.put(
        "patients", "in October", at=int((NOW - timedelta(days=18)).timestamp()) - 1767225600
    )
    source.put(
        "patients", "in November", at=int((NOW - timedelta(days=2)).timestamp()) - 1767225600
    )
    said = incremental(connections, instance, first="2026-10-01")
    assert said["incremental/new_or_changed"] == 2
    assert said["rows_held"] == 8


def test_the_balance_is_a_small_table_and_nothing_names_a_patient(
    connections: ScriptedConnections, source: ScriptedSource, instance: dg.DagsterInstance
) -> None:
    fill(source)
    materialize(connections, instance, first=FIRST)
    event = instance.get_latest_materialization_event(PATIENT)
    assert event is not None
    assert event.asset_materialization is not None
    table = event.asset_materialization.metadata["balance"]
    assert isinstance(table, dg.TableMetadataValue)
    (line,) = (each.data for each in table.records)
    assert line == {
        "type": "Patient", "eligible": 6, "migrated": 6, "unchanged": 0, "skipped": 0,
        "rejected": 0, "quarantined": 0, "pending": 0,
    }  # fmt: skip
    assert CANARY not in str([events(instance, month) for month in PER_MONTH])
