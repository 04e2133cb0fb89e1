"""What a run that is tried again finds done; rows looked at again because a person named them."""

from migration_assets.manifest import Alongside, Manifest, Settlement, State, SweepEnd
from migration_assets_tests.manifest.rows import row


def _pulled(manifest: Manifest, label: str, partition: str) -> None:
    run = manifest.start_run(label, pipeline_version="1")
    manifest.land(
        "patients", [], run_id=run, reopen=False, alongside=Alongside(window=(partition, 0))
    )


def test_only_windows_of_the_runs_that_belong_together_count_as_done(manifest: Manifest) -> None:
    """A window that another run pulled since is that run's; one pulled on purpose is pulled."""
    _pulled(manifest, "mine", "2026-01")
    _pulled(manifest, "mine", "2026-02")
    _pulled(manifest, "retry", "2026-03")
    _pulled(manifest, "somebody", "2026-02")
    assert set(manifest.finished.windows("patients", {"mine", "retry"})) == {"2026-01", "2026-03"}
    assert manifest.finished.windows("patients", set()) == {}
    assert manifest.finished.windows("organizations", {"mine"}) == {}


def test_a_sweep_counts_as_done_only_if_it_was_believed(manifest: Manifest) -> None:
    run = manifest.start_run("mine", pipeline_version="1")
    refused = manifest.start_sweep("patients", run_id=run)
    manifest.end_sweep(refused, SweepEnd(verdict="refused", rows=0, absent=9))
    assert manifest.finished.sweep("patients", {"mine"}) is None
    believed = manifest.start_sweep("patients", run_id=run)
    assert manifest.finished.sweep("patients", {"mine"}) is None
    manifest.end_sweep(believed, SweepEnd(verdict="believed", rows=0, absent=0))
    assert manifest.finished.sweep("patients", {"mine"}) is not None
    assert manifest.finished.sweep("patients", {"other"}) is None


def test_named_rows_are_looked_at_again_and_held_ones_are_not(manifest: Manifest) -> None:
    """What landed broken is not a mapping's doing: mapping it again would not mend it."""
    run = manifest.start_run("mine", pipeline_version="1")
    manifest.land("patients", [row("A"), row("B"), row("C")], run_id=run, reopen=False)
    settled = [
        Settlement(unit_id=unit.id, revision=unit.revision, state=State.MIGRATED)
        for unit in manifest.pending_units("patients")
    ]
    manifest.settle(settled, run_id=run)
    assert manifest.remapping.reopen("patients", ["A", "C", "nobody"]) == 2
    assert [each.key for each in manifest.pending_units("patients")] == ["A", "C"]
    assert manifest.remapping.reopen("patients", ["A"]) == 0
