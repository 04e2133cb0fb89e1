"""What a row says of itself beside its content reaches the account: archived, merged, volatile."""

import contextlib
from dataclasses import replace
from datetime import timedelta

from migration_assets.manifest import Alongside, Manifest
from migration_assets_tests.manifest.rows import START, PulledRow, migrated, row


def land(manifest: Manifest, *rows: PulledRow, run_id: int = 1) -> None:
    manifest.land("patients", rows, run_id=run_id, reopen=False)


def settle_all(manifest: Manifest) -> None:
    manifest.settle([migrated(each) for each in manifest.pending_units("patients")], run_id=1)


def test_a_row_put_away_or_merged_is_looked_at_again_though_its_content_is_the_same(
    manifest: Manifest,
) -> None:
    """A feed of archived rows may repeat the row as it was: only its path says what happened."""
    land(manifest, row("P1"), row("P2"))
    settle_all(manifest)
    land(
        manifest,
        replace(row("P1"), archived=True),
        replace(row("P2"), merged_into="P1"),
        run_id=2,
    )
    first, second = manifest.pending_units("patients")
    assert (first.archived, first.merged_into, first.revision) == (True, None, 2)
    assert (second.archived, second.merged_into, second.revision) == (False, "P1", 2)
    settle_all(manifest)
    land(manifest, row("P1", at=9), run_id=3)
    (back,) = manifest.pending_units("patients")
    assert not back.archived, "taken out of the archive again"


def test_a_volatile_field_alone_does_not_make_a_row_changed(manifest: Manifest) -> None:
    """OpenEMR stamps every answer with the time it was made: each poll would rewrite everything."""
    content = {"id": "P1", "meta": {"served": 1, "site": "a"}, "lines": [{"served": 1, "n": 2}]}
    first = replace(row("P1"), row=content, volatile=("meta.served", "lines.served"))
    land(manifest, first)
    settle_all(manifest)
    again = {"id": "P1", "meta": {"served": 2, "site": "a"}, "lines": [{"served": 7, "n": 2}]}
    assert manifest.unseen("patients", [replace(first, row=again)]) == 0
    land(manifest, replace(first, row=again), run_id=2)
    assert manifest.pending_units("patients") == []
    moved = {"id": "P1", "meta": {"served": 3, "site": "b"}, "lines": [{"served": 7, "n": 2}]}
    land(manifest, replace(first, row=moved), run_id=3)
    (unit,) = manifest.pending_units("patients")
    assert unit.row == moved, "the row is kept whole, volatile fields included"


def test_a_row_that_came_twice_with_other_volatile_fields_is_no_collision(
    manifest: Manifest,
) -> None:
    one = replace(row("P1"), row={"id": "P1", "served": 1}, volatile=("served",))
    land(manifest, one, replace(one, row={"id": "P1", "served": 2}))
    (unit,) = manifest.pending_units("patients")
    assert unit.key == "P1"


def test_a_detail_on_account_is_given_back_for_its_own_change_time_only(
    manifest: Manifest,
) -> None:
    """A detail fetched for another version of the row would stand in for this one."""
    land(manifest, row("P1", name="whole"), replace(row("P2"), problem="detail-missing"))
    land(manifest, replace(row("P3"), deleted=True))
    assert manifest.landed_row("patients", "P1", START) == {"id": "P1", "name": "whole"}
    assert manifest.landed_row("patients", "P1", START + timedelta(seconds=1)) is None
    assert manifest.landed_row("patients", "P2", START) is None
    assert manifest.landed_row("patients", "P3", START) is None
    assert manifest.landed_row("encounters", "P1", START) is None


def test_a_parent_counts_as_known_only_once_its_rows_were_committed(manifest: Manifest) -> None:
    class BombError(Exception):
        pass

    def cut() -> list[PulledRow]:
        raise BombError

    assert not manifest.knows_parent("notes", "P1")
    with contextlib.suppress(BombError):
        manifest.land(
            "notes",
            (each for _ in [0] for each in cut()),
            run_id=1,
            reopen=False,
            alongside=Alongside(parents=("P1",)),
        )
    assert not manifest.knows_parent("notes", "P1")
    for _ in range(2):
        manifest.land(
            "notes", [row("N1")], run_id=1, reopen=False, alongside=Alongside(parents=("P1",))
        )
    assert manifest.knows_parent("notes", "P1")
    assert not manifest.knows_parent("letters", "P1")
