"""Which units another mapping version opens again, and which it must leave alone."""

from migration_assets.manifest import Manifest, Settlement, State
from migration_assets.manifest.subsets import Subset
from migration_assets_tests.conftest import Clock
from migration_assets_tests.manifest.rows import PulledRow, migrated, row


def _settle(manifest: Manifest, *settlements: Settlement) -> None:
    manifest.settle(settlements, run_id=1)


def test_a_version_opens_what_a_mapping_settled_and_nothing_else(
    manifest: Manifest, clock: Clock
) -> None:
    """A collision or a decision is not a mapping's: opened, it would be delivered as it is."""
    keys = ("done", "held", "undone", "collides", "current", "pending")
    manifest.land("patients", [row(key) for key in keys], run_id=1, reopen=True)
    units = {each.key: each for each in manifest.pending_units("patients")}
    quarantined = Settlement(
        unit_id=units["held"].id,
        revision=1,
        state=State.QUARANTINED,
        reason="unmapped-code",
        mapping_version="1.0.0",
    )
    current = Settlement(
        unit_id=units["current"].id, revision=1, state=State.MIGRATED, mapping_version="2.0.0"
    )
    done = [migrated(units[key]) for key in ("done", "undone", "collides")]
    _settle(manifest, *done, quarantined, current)
    manifest.history.settle([migrated(units["undone"])], run_id=2)
    clock.now = clock.now.replace(hour=13)
    collision = [row("collides", name="one"), row("collides", name="two")]
    manifest.land("patients", collision, run_id=3, reopen=True)
    opened = {each.unit.key for each in manifest.remapping.outdated("patients", "2.0.0")}
    assert opened == {"done", "held"}
    assert manifest.remapping.count_outdated("patients", "2.0.0") == 2
    assert manifest.remapping.reopen_outdated("patients", "2.0.0") == 2
    pending = {each.key for each in manifest.pending_units("patients")}
    assert pending == {"done", "held", "pending"}
    assert manifest.remapping.reopen_outdated("patients", "2.0.0") == 0


def test_a_broken_row_is_known_as_held_at_landing(manifest: Manifest) -> None:
    broken = PulledRow("P1", {"id": "P1"}, problem="broken-utf-8")
    manifest.land("patients", [broken, row("P2")], run_id=1, reopen=True)
    found = manifest.remapping.on_account("patients", ["P1", "P2", "P3"])
    assert {key: each.held for key, each in found.items()} == {"P1": True, "P2": False}


def test_a_subset_of_what_is_pending_is_stable(manifest: Manifest) -> None:
    """Delivered in part, a sample is still the same sample: nobody else moves up."""
    manifest.land("patients", [row(f"P{n}") for n in range(20)], run_id=1, reopen=True)
    sample = Subset(sample=6, seed=3)
    whole = manifest.remapping.chosen("patients", sample)
    first = manifest.remapping.pending_among(whole[:2])
    _settle(manifest, *(migrated(each) for each in first))
    left = manifest.remapping.chosen("patients", sample, pending_only=True)
    assert left == whole[2:]
    limited = manifest.remapping.chosen("patients", Subset(limit=3), pending_only=True)
    assert len(limited) == 3
    assert not set(limited) & {each.id for each in first}
