"""The record of the adoption: who moved what when, and what evidence is read from the account."""

from datetime import timedelta

import pytest

from migration_assets.manifest import Attempt, Manifest, Settlement, State
from migration_assets_tests.conftest import Clock
from migration_assets_tests.manifest.rows import START, patient_token, row, tombstone


def test_a_change_that_was_cut_off_is_told_from_one_that_was_made(
    manifest: Manifest, clock: Clock
) -> None:
    """Since when a type is in its phase decides over its gate: half a change must not."""
    asked = {"by": "a person", "evidence": {"pending": 0}}
    made = manifest.switching.begin({"Patient": "backfill"}, "read", **asked)  # type: ignore[arg-type] # the same twice
    assert manifest.switching.since("Patient", "read") is None
    clock.now += timedelta(minutes=1)
    manifest.switching.applied(made)
    assert manifest.switching.since("Patient", "read") == clock.now
    clock.now += timedelta(minutes=1)
    manifest.switching.begin(
        {"Patient": "read", "Encounter": "read"}, "write", forced=True, reason="go", **asked  # type: ignore[arg-type]
    )  # fmt: skip
    assert manifest.switching.since("Patient", "read") == clock.now - timedelta(minutes=1)
    assert manifest.switching.since("Patient", "write") is None
    newest, *_ = manifest.switching.changes("Patient")
    assert (newest.was, newest.becomes, newest.forced, newest.reason, newest.by) == (
        "read", "write", True, "go", "a person",
    )  # fmt: skip
    assert newest.applied_at is None
    assert newest.evidence == {"pending": 0}
    assert len(manifest.switching.changes()) == 3


def test_a_phase_set_by_hand_since_has_no_beginning(manifest: Manifest) -> None:
    made = manifest.switching.begin({"Patient": "read"}, "write", by="x", evidence={})
    manifest.switching.applied(made)
    assert manifest.switching.since("Patient", "read") is None


def test_a_run_that_began_before_a_change_is_told_and_a_later_one_is_not(
    manifest: Manifest, clock: Clock
) -> None:
    early = manifest.start_run("early", pipeline_version="0")
    clock.now += timedelta(seconds=1)
    manifest.switching.begin({"Patient": "read"}, "write", by="x", evidence={})
    clock.now += timedelta(seconds=1)
    late = manifest.start_run("late", pipeline_version="0")
    told = [
        manifest.switching.moved_during(kind, run)
        for kind, run in (("Patient", early), ("Patient", late), ("Encounter", early))
    ]
    assert told == [True, False, False]


def test_published_flags_are_kept_with_where_they_went(manifest: Manifest) -> None:
    manifest.switching.published('{"types":{}}', {"file": {"event": "created"}}, by="x")
    (kept,) = manifest.switching.publications()
    assert (kept.flags, kept.written) == ({"types": {}}, {"file": {"event": "created"}})


@pytest.fixture
def delivered(manifest: Manifest, clock: Clock) -> Manifest:
    """P1 was created, P2 was as it should be, P3 is pending, P4 changed long ago."""
    clock.now = START + timedelta(days=20)
    run = manifest.start_run("test", pipeline_version="0")
    rows = [row(f"P{n}", at=10 * 86_400) for n in (1, 2, 3)] + [row("P4")]
    manifest.land("patients", rows, run_id=run, reopen=False)
    events = {"P1": "created", "P2": "unchanged", "P4": "unchanged"}
    done = [
        Settlement(
            unit_id=each.id,
            revision=each.revision,
            state=State.MIGRATED,
            attempts=(Attempt(patient_token(each.key), "PUT", "b", 0, "201", events[each.key]),),
        )
        for each in manifest.pending_units("patients")
        if each.key in events
    ]
    manifest.settle(done, run_id=run)
    return manifest


def test_rows_that_changed_are_told_with_what_was_done_about_them(delivered: Manifest) -> None:
    (page,) = delivered.switching.touched("patients", START + timedelta(days=9))
    assert [(each.state, each.done) for each in page] == [
        (State.MIGRATED, frozenset({("created", "201")})),
        (State.MIGRATED, frozenset({("unchanged", "201")})),
        (State.PENDING, frozenset()),
    ]
    (page,) = delivered.switching.touched("patients", START)
    assert len(page) == 4


def test_a_deletion_counts_from_when_it_landed(delivered: Manifest, clock: Clock) -> None:
    """A tombstone may keep the change time of years ago."""
    clock.now += timedelta(days=10)
    run = delivered.start_run("test", pipeline_version="0")
    delivered.land("patients", [tombstone("P4", at=0)], run_id=run, reopen=False)
    (page,) = delivered.switching.touched("patients", clock.now - timedelta(days=1))
    assert len(page) == 1


def test_the_last_write_is_one_that_changed_something(delivered: Manifest, clock: Clock) -> None:
    """What was looked at and left does not make a comparison old."""
    wrote = delivered.switching.last_write("Patient")
    assert wrote == START + timedelta(days=20)
    clock.now += timedelta(days=1)
    run = delivered.start_run("test", pipeline_version="0")
    (unit,) = delivered.pending_units("patients")
    left = Attempt(patient_token("P3"), "PUT", "b", 0, "200", "unchanged")
    delivered.settle(
        [
            Settlement(
                unit_id=unit.id, revision=unit.revision, state=State.UNCHANGED, attempts=(left,)
            )
        ],
        run_id=run,
    )
    assert delivered.switching.last_write("Patient") == wrote
    assert delivered.switching.last_write("Pat") is None
