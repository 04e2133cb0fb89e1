"""Landing: a row that came once is on account for good, and no row stands in for another."""

import contextlib
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from migration_assets.manifest import Alongside, Landed, Manifest, State
from migration_assets_tests.conftest import Clock
from migration_assets_tests.manifest.rows import START, PulledRow, migrated, row, tombstone


def land(manifest: Manifest, *rows: PulledRow, run_id: int = 1, reopen: bool = True) -> Landed:
    return manifest.land("patients", rows, run_id=run_id, reopen=reopen)


def states(manifest: Manifest) -> dict[str, tuple[str, str | None]]:
    units = manifest.landed_units("patients", limit=100)
    pending = {each.key for each in manifest.pending_units("patients")}
    reasons = {
        key: each.reason for each in manifest.exceptions("patients") for key in each.example_keys
    }
    return {
        each.key: ("pending" if each.key in pending else "settled", reasons.get(each.key))
        for each in units
    }


def test_a_landed_row_comes_back_exactly_as_it_came(manifest: Manifest) -> None:
    content = {
        "id": "P1",
        "name": "Zoë Łukasz 小明",
        "n": 1.5,
        "big": 2**70,
        "none": None,
        "l": [{}],
    }
    land(manifest, PulledRow("P1", content, START))
    (unit,) = manifest.pending_units("patients")
    assert unit.row == content


def test_a_row_with_broken_utf8_is_kept_with_its_bytes(manifest: Manifest) -> None:
    """The puller marks it; what matters here is that the payload can hold it at all."""
    land(manifest, PulledRow("P1", {"name": "Jos\udce9"}, START, problem="invalid-utf8"))
    (unit,) = manifest.landed_units("patients", limit=1)
    assert unit.row["name"].encode("utf-8", "surrogateescape") == b"Jos\xe9"
    assert states(manifest)["P1"] == ("settled", "invalid-utf8")


def test_a_row_without_an_id_is_on_account_once_however_often_it_comes(
    manifest: Manifest,
) -> None:
    lost = PulledRow(None, {"name": "nobody"}, START, problem="id-missing")
    land(manifest, lost, row("P1"))
    land(manifest, lost, run_id=2)
    balance = manifest.balances()["patients"]
    assert (balance.eligible, balance.by_state[State.QUARANTINED]) == (2, 1)


def test_a_key_that_no_database_can_hold_is_quarantined_not_a_crash(manifest: Manifest) -> None:
    landed = land(manifest, PulledRow("P\x001", {"id": "P\x001"}, START))
    assert landed.quarantined == 1
    assert manifest.exceptions()[0].reason == "id-unusable"


def test_two_rows_with_one_key_in_a_page_are_both_quarantined(manifest: Manifest) -> None:
    """Taking either would lose the other, and nothing says which is right."""
    land(manifest, row("P1", name="a"), row("P1", name="b"), row("P2"))
    assert manifest.balances()["patients"].eligible == 3
    assert [each.key for each in manifest.pending_units("patients")] == ["P2"]
    assert {each.reason for each in manifest.exceptions()} == {"duplicate-key"}


def test_two_rows_with_one_key_are_the_same_units_whatever_the_order(manifest: Manifest) -> None:
    land(manifest, row("P1", name="a"), row("P1", name="b"))
    land(manifest, row("P1", name="b"), row("P1", name="a"), run_id=2)
    assert manifest.balances()["patients"].eligible == 2


def test_one_key_split_over_two_pages_of_a_run_is_a_collision_too(manifest: Manifest) -> None:
    land(manifest, row("P1", name="a"))
    land(manifest, row("P1", name="b"))
    balance = manifest.balances()["patients"]
    assert (balance.eligible, balance.by_state[State.QUARANTINED]) == (2, 2)
    land(manifest, row("P1", name="a"), run_id=2)
    land(manifest, row("P1", name="b"), run_id=2)
    assert manifest.balances()["patients"].eligible == 2


def test_half_of_a_collision_served_again_is_not_taken_for_the_truth(manifest: Manifest) -> None:
    """A run may die between the pages that hold the two: the first must not become pending."""
    land(manifest, row("P1", name="a"), row("P1", name="b"))
    for name in ("a", "b"):
        land(manifest, row("P1", name=name), run_id=2)
        assert manifest.pending_units("patients") == []
    land(manifest, row("P1", name="mended", at=9), run_id=3)
    assert [each.key for each in manifest.pending_units("patients")] == ["P1"]


def test_the_same_row_twice_in_a_page_is_one_row(manifest: Manifest) -> None:
    land(manifest, row("P1"), row("P1"))
    assert manifest.balances()["patients"].by_state[State.PENDING] == 1


def test_a_row_that_changed_between_two_pages_of_a_run_is_a_change_not_a_collision(
    manifest: Manifest,
) -> None:
    land(manifest, row("P1", name="a"))
    land(manifest, row("P1", name="b", at=5))
    (unit,) = manifest.pending_units("patients")
    assert unit.row["name"] == "b"
    assert unit.revision == 2


def test_an_older_version_never_replaces_a_newer_one(manifest: Manifest) -> None:
    """A backfill of an old window and an incremental pull may run at the same time."""
    land(manifest, row("P1", name="new", at=9))
    landed = land(manifest, row("P1", name="old", at=3), run_id=2)
    assert landed.stale == 1
    assert manifest.pending_units("patients")[0].row["name"] == "new"


def test_an_incremental_reread_does_not_reopen_what_is_settled(manifest: Manifest) -> None:
    land(manifest, row("P1"))
    manifest.settle([migrated(manifest.pending_units("patients")[0])], run_id=1)
    land(manifest, row("P1"), run_id=2, reopen=False)
    assert manifest.pending_units("patients") == []
    land(manifest, row("P1"), run_id=3, reopen=True)
    assert len(manifest.pending_units("patients")) == 1


def test_a_changed_row_is_a_debt_again(manifest: Manifest) -> None:
    land(manifest, row("P1"))
    manifest.settle([migrated(manifest.pending_units("patients")[0])], run_id=1)
    land(manifest, row("P1", name="changed", at=5), run_id=2, reopen=False)
    (unit,) = manifest.pending_units("patients")
    assert unit.row["name"] == "changed"
    assert unit.targets[0].fhir_id == "id-P1"


def test_a_tombstone_keeps_the_row_that_names_the_resources(manifest: Manifest) -> None:
    land(manifest, row("P1", name="a"))
    land(manifest, tombstone("P1", at=5), run_id=2)
    (unit,) = manifest.pending_units("patients")
    assert unit.deleted
    assert unit.row["name"] == "a"


def test_a_row_that_comes_back_after_its_tombstone_is_alive_again(manifest: Manifest) -> None:
    land(manifest, row("P1", name="a"))
    land(manifest, tombstone("P1", at=5), run_id=2)
    land(manifest, row("P1", name="a", at=9), run_id=3)
    (unit,) = manifest.pending_units("patients")
    assert not unit.deleted


def test_the_mark_is_not_moved_when_the_rows_are_not_landed(
    manifest: Manifest,
) -> None:
    """One transaction: a mark ahead of its rows would lose them for good."""

    class Bomb:
        def __iter__(self) -> "Bomb":
            return self

        def __next__(self) -> PulledRow:
            raise RuntimeError("the process dies here")

    with contextlib.suppress(RuntimeError):
        manifest.land(
            "patients",
            Bomb(),
            run_id=1,
            reopen=True,
            alongside=Alongside(mark=START, window=("2026-01", 1)),
        )
    assert manifest.high_water_mark("patients") is None
    assert manifest.pulled_windows("patients") == {}


def test_the_mark_never_moves_backwards(manifest: Manifest, clock: Clock) -> None:
    later = START + timedelta(days=3)
    for mark in (later, START):
        manifest.land("patients", [], run_id=1, reopen=True, alongside=Alongside(mark=mark))
    assert manifest.high_water_mark("patients") == later


def test_two_pulls_of_a_stream_that_meet_land_each_row_once(manifest: Manifest) -> None:
    """A backfill and an incremental pull: both find a key absent, and both would insert it."""
    rows = [row(f"P{n}") for n in range(300)]
    with ThreadPoolExecutor(4) as pool:
        landings = [pool.submit(land, manifest, *rows, run_id=run) for run in range(1, 9)]
        landed = [each.result() for each in landings]
    assert manifest.balances()["patients"].eligible == 300
    assert sum(each.new for each in landed) == 300


def test_a_probe_sees_only_what_would_change_the_account(manifest: Manifest) -> None:
    land(manifest, row("P1"))
    assert manifest.unseen("patients", [row("P1")]) == 0
    assert manifest.unseen("patients", [row("P1", name="x", at=1), row("P2")]) == 2


_contents = st.sampled_from(["a", "b", "c"])
_rows = st.lists(st.tuples(st.sampled_from(["P1", "P2", "P3"]), _contents, st.integers(0, 3)))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(pages=st.lists(_rows, max_size=4), reopen=st.booleans())
def test_whatever_lands_every_distinct_key_is_on_account_and_the_balance_holds(
    tmp_path: Path, pages: list[list[tuple[str, str, int]]], reopen: bool
) -> None:
    """No order, repetition, collision or staleness loses a key or breaks the law of design §1."""
    clock = Clock()
    manifest = Manifest(f"sqlite:///{tmp_path / 'h.db'}", clock=clock)
    run = manifest.start_run("test", pipeline_version="0")
    stream = f"s{run}"
    for page in pages:
        pulled = [row(key, name=name, at=at) for key, name, at in page]
        manifest.land(stream, pulled, run_id=run, reopen=reopen)
    landed = {each.key for each in manifest.landed_units(stream, limit=1000)}
    assert {key for page in pages for key, _, _ in page} <= landed
    if landed:
        assert manifest.balances()[stream].holds
    manifest.close()


def test_a_sweep_believes_what_is_served_now_over_a_later_time_of_before(
    manifest: Manifest, clock: Clock
) -> None:
    """A backup restored at the source, a soft delete undone: the change time went back."""
    land(manifest, tombstone("P1", at=50), row("P2", at=50, name="newer"))
    clock.now += timedelta(minutes=5)
    sweep = manifest.start_sweep("patients", run_id=2)
    clock.now += timedelta(minutes=5)
    land(manifest, row("P3", at=60, name="changed while we sweep"), run_id=3)
    beside = Alongside(sweep=sweep)
    served = [
        row("P1", at=10),
        row("P2", at=10, name="restored"),
        row("P3", at=40, name="old page"),
    ]
    landed = manifest.land("patients", served, run_id=2, reopen=False, alongside=beside)
    assert (landed.changed, landed.stale) == (2, 1)
    units = {each.key: each for each in manifest.landed_units("patients", limit=9)}
    assert not units["P1"].deleted
    assert units["P2"].row["name"] == "restored"
    assert units["P3"].row["name"] == "changed while we sweep"


def test_a_time_that_seems_to_go_back_in_the_repeated_hour_is_no_older_row(
    manifest: Manifest,
) -> None:
    """Zone-less 01:50 EDT, changed again at 01:10 EST: 20 minutes later, and shown as earlier."""
    land(manifest, row("P1", at=3_000, name="first"))
    slack = Alongside(slack=timedelta(hours=1))
    again = row("P1", at=600, name="second")
    landed = manifest.land("patients", [again], run_id=2, reopen=False, alongside=slack)
    assert landed.changed == 1
    assert manifest.land("patients", [row("P1", at=-4_000)], run_id=3, reopen=False).stale == 1


def test_a_row_and_its_tombstone_of_one_tick_are_a_deletion_and_no_collision(
    manifest: Manifest,
) -> None:
    """A feed of deletions with days as ticks: as a collision the row would live on for good."""
    land(manifest, row("P1", name="a"), row("P2", name="a"))
    land(manifest, tombstone("P1", at=0))
    land(manifest, tombstone("P2", at=0), run_id=2)
    land(manifest, row("P2", name="an old page"), run_id=2)
    assert all(each.deleted for each in manifest.landed_units("patients", limit=9))
    land(manifest, row("P2", name="a"), run_id=3)
    (back,) = [each for each in manifest.landed_units("patients", limit=9) if not each.deleted]
    assert back.key == "P2"


def test_a_second_tombstone_does_not_take_the_place_of_the_last_living_row(
    manifest: Manifest,
) -> None:
    """Only that row tells what the resources hold, when they are marked instead of deleted."""
    land(manifest, row("P1", name="whole"))
    land(manifest, tombstone("P1", at=5), run_id=2)
    again = PulledRow("P1", {"id": "P1", "reason": "typo"}, START + timedelta(9), deleted=True)
    land(manifest, again, run_id=3)
    (unit,) = manifest.landed_units("patients", limit=9)
    assert (unit.deleted, unit.row) == (True, {"id": "P1", "name": "whole"})
