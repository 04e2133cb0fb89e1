"""The pile of writes: who wrote a resource last, and what an undo leaves on account."""

import pytest

from migration_assets.manifest import Attempt, Manifest, Settlement, State, SweepEnd, Target
from migration_assets_tests.manifest.rows import patient_token, row, tombstone

NAME = patient_token("P1")


def _wrote(manifest: Manifest, event: str, version: str | None, status: str = "200") -> int:
    """A run of which one attempt on P1 is kept; its number."""
    run = manifest.start_run(f"dagster-{event}", pipeline_version="0")
    if event.startswith("undone"):
        manifest.history.settle([_settlement(event, version, status)], run_id=run)
    else:
        manifest.settle([_settlement(event, version, status)], run_id=run)
    return run


def _settlement(event: str, version: str | None, status: str = "200") -> Settlement:
    method = "DELETE" if version is None else "PUT"
    return Settlement(
        unit_id=1,
        revision=1,
        state=State.MIGRATED,
        attempts=(Attempt(NAME, method, "b", 0, status, event, None, "id-P1", version),),
        targets=(Target("Patient", NAME, "id-P1", version, deleted=version is None),),
    )


@pytest.fixture
def landed(manifest: Manifest) -> Manifest:
    manifest.land("patients", [row("P1")], run_id=1, reopen=True)
    return manifest


def test_an_undo_takes_the_topmost_run_from_the_pile(landed: Manifest) -> None:
    first = _wrote(landed, "created", "v1")
    second = _wrote(landed, "changed", "v2")
    (unit,) = landed.history.written(first, [1])
    assert unit.resources[0].later_run == second
    _wrote(landed, "undone-changed", "v3")
    assert landed.history.written(second, [1]) == []
    (unit,) = landed.history.written(first, [1])
    assert (unit.resources[0].later_run, unit.resources[0].expected) == (None, "v3")
    assert unit.resources[0].first_version == "v1"


def test_a_run_that_wrote_before_and_after_another_is_not_undone_across_it(
    landed: Manifest,
) -> None:
    first = _wrote(landed, "created", "v1")
    second = _wrote(landed, "changed", "v2")
    landed.settle([_settlement("changed", "v3")], run_id=first)
    (unit,) = landed.history.written(first, [1])
    assert unit.resources[0].later_run == second


def test_a_deletion_of_what_was_gone_already_is_nobodys_to_take_back(landed: Manifest) -> None:
    """Somebody deleted it in Medplum: bringing it back would undo their decision."""
    run = _wrote(landed, "deleted", None, status="404")
    assert landed.history.units_written(run) == []


def test_an_undone_unit_is_held_whatever_the_source_sends(landed: Manifest) -> None:
    _wrote(landed, "created", "v1")
    _wrote(landed, "undone-created", None)
    landed.land("patients", [row("P1")], run_id=9, reopen=True)
    assert landed.pending_units("patients") == []
    landed.land("patients", [row("P1", at=5, name="new")], run_id=10, reopen=True)
    landed.land("patients", [tombstone("P1", at=6)], run_id=11, reopen=False)
    assert landed.pending_units("patients") == []
    assert [(each.reason, each.count) for each in landed.exceptions()] == [("undone", 1)]
    (unit,) = landed.landed_units("patients", limit=9)
    assert unit.deleted, "released, it is what the source says by then"


def test_a_sweep_that_finds_the_row_gone_does_not_release_it_either(landed: Manifest) -> None:
    _wrote(landed, "changed", "v2")
    _wrote(landed, "undone-changed", "v3")
    sweep = landed.start_sweep("patients", run_id=9)
    absent = tuple(landed.absent_units(sweep))
    assert landed.end_sweep(sweep, SweepEnd(verdict="believed", rows=0, absent=1, gone=absent)) == 1
    assert landed.pending_units("patients") == []
    assert [each.reason for each in landed.exceptions()] == ["undone"]


def test_a_row_that_changed_during_the_undo_is_held_with_it(landed: Manifest) -> None:
    _wrote(landed, "created", "v1")
    landed.land("patients", [row("P1", at=5, name="new")], run_id=9, reopen=True)
    _wrote(landed, "undone-created", None)
    assert landed.pending_units("patients") == []


def test_runs_are_found_by_number_and_by_label_with_what_they_wrote(landed: Manifest) -> None:
    run = _wrote(landed, "created", "v1")
    landed.start_run("idle", pipeline_version="0")
    (found,) = landed.history.latest_runs(5)
    assert (found.id, found.wrote) == (run, (("Patient", "created", 1),))
    assert landed.history.runs_called("dagster-created") == [found]
    assert landed.history.runs_called(str(run)) == [found]
    assert landed.history.runs_called("nobody") == []
    assert landed.history.runs_called("٣") == [], "a digit, and no number of ours"
