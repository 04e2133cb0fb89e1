"""The balance from other sides: the same windows as Dagster's, and parts that add up."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from migration_assets.cli.verbs import VERBS
from migration_assets.defs.partitions import change_time_partitions
from migration_assets.manifest import Balance, Manifest, Settlement, State
from migration_assets.manifest.tallies import Dimension
from migration_assets.mappings import discover
from migration_assets.reconciliation.dimensions import Part, Size, Windows, adds_up, balance_by
from migration_assets.settings import Settings
from migration_assets_tests.manifest.rows import START, migrated, row

EPOCH = date(1970, 1, 1)
TODAY = date(2026, 11, 1)
PATIENT = [discover()["Patient"]]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["monthly", "weekly", "daily"]),
    st.dates(date(2024, 1, 1), date(2026, 9, 1)),
    st.dates(date(2023, 6, 1), date(2027, 2, 1)),
)
def test_a_row_is_counted_in_the_window_that_pulls_it(size: Size, start: date, day: date) -> None:
    """Else a window's balance would say nothing about the partition a person looks at."""
    asked = Settings.model_validate({"MIGRATION_START": str(start), "MIGRATION_PARTITIONS": size})
    dagsters = change_time_partitions(asked)
    with dg.partition_loading_context(effective_dt=datetime(2026, 11, 1, 12, tzinfo=UTC)):
        keys = list(dagsters.get_partition_keys())
    begun = {key: dagsters.time_window_for_partition_key(key).start.date() for key in keys}
    expected = [key for key in keys if begun[key] <= day] or keys[:1]
    named = Windows(size, start, TODAY).named(str((day - EPOCH).days))
    assert named == expected[-1]


def test_every_row_is_in_one_window_one_version_and_one_run(manifest: Manifest) -> None:
    rows = [row(f"P{n}", at=n * 86_400 * 20) for n in range(9)]
    manifest.land("patients", rows, run_id=1, reopen=False)
    listed = manifest.pending_units("patients")
    manifest.settle([migrated(each) for each in listed[:4]], run_id=2)
    skipped = [Settlement(unit_id=listed[5].id, revision=1, state=State.SKIPPED, reason="x")]
    manifest.settle(skipped, run_id=3)
    windows = Windows("monthly", START.date(), (START + timedelta(days=365)).date())
    for dimension, names in (
        (Dimension.WINDOW, [f"2026-{month:02d}-01" for month in (1, 2, 3, 4, 5, 6)]),
        (Dimension.VERSION, ["", "1.0.0"]),
        (Dimension.RUN, ["1", "2", "3"]),
    ):
        parts = balance_by(manifest, PATIENT, dimension, windows)
        assert [each.name for each in parts] == names
        assert adds_up(manifest, PATIENT, parts)
        assert not adds_up(manifest, PATIENT, parts[1:]), "a part that is missing is noticed"
        moved = Part("Patient", "x", Balance(1, dict.fromkeys(State, 0)))
        assert not adds_up(manifest, PATIENT, [*parts, moved])


@pytest.mark.parametrize("by", ["window", "version", "run"])
def test_a_person_and_a_machine_are_told_the_same_parts(
    by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path / 'manifest.db'}"
    monkeypatch.setenv("MIGRATION_MANIFEST_URL", url)
    manifest = Manifest(url, clock=lambda: datetime(2026, 11, 1, tzinfo=UTC))
    manifest.land("patients", [row("P1"), row("P2", at=86_400 * 40)], run_id=7, reopen=False)
    manifest.close()
    told = _ran(capsys, "status", "--by", by, "--json")
    found = json.loads(told)
    assert found["balance_holds"]
    assert sum(each["pending"] for each in found["parts"]) == 2
    shown = _ran(capsys, "status", "--by", by)
    assert all(each[by] in shown for each in found["parts"])
    assert "is right" in _ran(capsys, "status", "--recount")
    assert json.loads(_ran(capsys, "status", "--recount", "--json")) == {"wrong": []}


def _ran(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    VERBS(list(arguments), standalone_mode=False)
    return capsys.readouterr().out
