"""Decisions: nothing that a person said is lost, and nothing is delivered that was not decided."""

from dataclasses import replace
from datetime import date, timedelta

import pytest

from migration_assets.errors import Permanent
from migration_assets.manifest import (
    Absent,
    Alongside,
    Attempt,
    Choice,
    Decision,
    Manifest,
    Selection,
    Settlement,
    State,
    SweepEnd,
    Target,
    Unit,
)
from migration_assets_tests.conftest import Clock
from migration_assets_tests.manifest.rows import (
    START,
    PulledRow,
    migrated,
    patient_token,
    row,
    tombstone,
)

ANNA = Decision(by="anna")


def land(manifest: Manifest, *rows: PulledRow, run_id: int = 1, stream: str = "patients") -> None:
    manifest.land(stream, rows, run_id=run_id, reopen=True)


def settled(manifest: Manifest, state: State, reason: str, *keys: str, run_id: int = 1) -> None:
    """Land rows and settle them."""
    land(manifest, *(row(key) for key in keys), run_id=run_id)
    units = [each for each in manifest.pending_units("patients") if each.key in keys]
    manifest.settle(
        [
            Settlement(unit_id=each.id, revision=each.revision, state=state, reason=reason)
            for each in units
        ],
        run_id=run_id,
    )


def quarantined(manifest: Manifest, *keys: str) -> None:
    settled(manifest, State.QUARANTINED, "unmapped-code", *keys)


def states(manifest: Manifest) -> dict[str, tuple[str, str]]:
    """State and reason of every unit, by key."""
    letters = manifest.decisions.listed(Selection(), limit=100)
    found = {each.key: (each.state.value, each.reason) for each in letters}
    pending = {each.key: ("pending", "") for each in manifest.pending_units("patients")}
    return found | pending


def test_what_was_said_first_stays_on_account_beside_what_was_said_last(
    manifest: Manifest, clock: Clock
) -> None:
    quarantined(manifest, "P1")
    some = Selection(keys=("P1",))
    manifest.decisions.assign(some, Decision(by="anna", owner="anna", note="code 9?"))
    clock.now += timedelta(hours=1)
    due = date(2026, 12, 1)
    fix = Decision(by="bob", choice=Choice.FIX, due=due)
    manifest.decisions.assign(some, fix)
    (letter,) = manifest.decisions.listed(some, limit=9)
    assert (letter.owner, letter.note) == ("anna", "code 9?")
    assert letter.decision == replace(fix, at=clock.now)
    assert [each.by for each in letter.decisions] == ["anna", "bob"]


def test_an_accepted_outcome_is_no_longer_open_and_still_counted(manifest: Manifest) -> None:
    quarantined(manifest, "P1", "P2")
    accept = Decision(by="anna", choice=Choice.ACCEPT, approver="bob")
    manifest.decisions.assign(Selection(keys=("P1",)), accept)
    (group,) = manifest.decisions.groups(Selection())
    assert (group.count, group.open) == (2, 1)
    (open_one,) = manifest.decisions.groups(Selection(open_only=True))
    assert open_one.example_keys == ("P2",)
    assert manifest.balances()["patients"].by_state[State.QUARANTINED] == 2


def test_accepting_one_outcome_accepts_no_other(manifest: Manifest) -> None:
    """A row that changes, or fails otherwise, was not what the approver saw."""
    quarantined(manifest, "P1", "P2", "P3")
    accept = Decision(by="anna", choice=Choice.ACCEPT, approver="bob")
    manifest.decisions.assign(Selection(), accept)
    assert manifest.decisions.groups(Selection(open_only=True)) == []
    land(manifest, replace(row("P1", at=9), row={"id": "P1", "name": "changed"}))
    (again,) = manifest.pending_units("patients")
    manifest.settle(
        [
            Settlement(
                unit_id=again.id,
                revision=again.revision,
                state=State.QUARANTINED,
                reason="unmapped-code",
            )
        ],
        run_id=2,
    )
    settled(manifest, State.REJECTED, "medplum-400-invalid", "P2", run_id=3)
    manifest.decisions.assign(Selection(keys=("P3",)), Decision(by="anna", choice=Choice.FIX))
    found = manifest.decisions.listed(Selection(open_only=True), limit=9)
    assert {each.key for each in found} == {"P1", "P2", "P3"}


def test_each_way_of_choosing_chooses_just_those(manifest: Manifest) -> None:
    manifest.start_run("another", pipeline_version="0")
    run = manifest.start_run("dagster-abc", pipeline_version="0")
    quarantined(manifest, "P1")
    settled(manifest, State.REJECTED, "medplum-400-invalid", "P2", run_id=run)
    settled(manifest, State.SKIPPED, "test-record", "P3")
    land(manifest, PulledRow("O1", {}, problem="invalid-utf8"), run_id=run, stream="organizations")
    manifest.decisions.assign(Selection(keys=("P3",)), Decision(by="x", owner="anna"))
    manifest.decisions.assign(Selection(keys=("P3",)), Decision(by="x", owner="bob"))

    def keys(selection: Selection) -> set[str]:
        return {each.key for each in manifest.decisions.listed(selection, limit=9)}

    assert keys(Selection()) == {"P1", "P2", "P3", "O1"}
    assert keys(Selection(streams=("patients",))) == {"P1", "P2", "P3"}
    assert keys(Selection(reason="test-record")) == {"P3"}
    assert keys(Selection(states=(State.REJECTED,))) == {"P2"}
    assert keys(Selection(run="dagster-abc")) == keys(Selection(run=str(run))) == {"P2", "O1"}
    assert keys(Selection(owner="bob")) == {"P3"}
    assert keys(Selection(owner="anna")) == set()
    assert keys(Selection(open_only=True)) == {"P1", "P2", "O1"}
    with pytest.raises(Permanent, match="No run"):
        keys(Selection(run="9" * 30))


def test_a_mistyped_or_ambiguous_key_changes_nothing(manifest: Manifest) -> None:
    quarantined(manifest, "P1")
    land(manifest, PulledRow("P1", {}, problem="invalid-utf8"), stream="organizations")
    for selection in (Selection(keys=("P1", "P9"), streams=("patients",)), Selection(keys=("P1",))):
        with pytest.raises(Permanent, match="Nothing was changed"):
            manifest.decisions.assign(selection, ANNA)
        with pytest.raises(Permanent, match="Nothing was changed"):
            manifest.decisions.redeliver(selection, ANNA)
    assert all(not each.decisions for each in manifest.decisions.listed(Selection(), limit=9))
    assert manifest.pending_units("patients") == []


def test_redelivered_units_are_pending_at_the_revision_they_had(manifest: Manifest) -> None:
    quarantined(manifest, "P1", "P2")
    again = Decision(by="anna", choice=Choice.REDELIVER)
    due = manifest.decisions.redeliver(Selection(keys=("P1",)), again)
    assert due.by_stream == {"patients": 1}
    (unit,) = manifest.pending_units("patients")
    assert (unit.key, unit.revision) == ("P1", 1)
    assert manifest.decisions.outcomes([unit.id]) == {(State.PENDING, ""): 1}


def test_a_row_held_when_it_landed_is_not_sent_because_somebody_said_redeliver(
    manifest: Manifest, clock: Clock
) -> None:
    """Its mapping would never see what the puller saw: broken bytes, another row's detail."""
    land(manifest, PulledRow("P1", {"id": "P1"}, problem="invalid-utf8"))
    quarantined(manifest, "P2")
    clock.now += timedelta(hours=1)
    broken = PulledRow("P2", {"id": "P2", "b": 1}, START + timedelta(seconds=5), problem="detail")
    land(manifest, broken, row("P3", name="a"), row("P3", name="b"))
    due = manifest.decisions.redeliver(Selection(), ANNA)
    assert due.by_stream == {}
    assert due.held_at_landing == {"invalid-utf8": 1, "detail": 1, "duplicate-key": 2}
    assert manifest.pending_units("patients") == []


def test_the_version_that_was_found_is_approved_and_no_other(manifest: Manifest) -> None:
    """An edit of an earlier run would let a later one be written over unseen."""
    land(manifest, row("P1"))
    manifest.settle([migrated(manifest.pending_units("patients")[0])], run_id=1)
    for run_id, theirs in ((2, "old-edit"), (3, "new-edit")):
        land(manifest, row("P1"), run_id=run_id)
        (unit,) = manifest.pending_units("patients")
        manifest.settle([_edited(unit, theirs)], run_id=run_id)
    yes = Decision(by="anna", choice=Choice.REDELIVER, approver="bob", overwrites=True)
    manifest.decisions.redeliver(Selection(), yes)
    (unit,) = manifest.pending_units("patients")
    assert unit.targets[0].overwrites == "new-edit"
    manifest.settle([migrated(unit)], run_id=4)
    land(manifest, row("P1"), run_id=5)
    assert manifest.pending_units("patients")[0].targets[0].overwrites is None


def _edited(unit: Unit, theirs: str) -> Settlement:
    name = patient_token(unit.key)
    return Settlement(
        unit_id=unit.id,
        revision=unit.revision,
        state=State.QUARANTINED,
        reason="edited-in-medplum",
        attempts=(
            Attempt(name, "PUT", "b", 0, "412", "failed", None, "id", "v1"),
            Attempt(name, "SEARCH", "", 0, "200", "edit-found", None, "id", theirs),
        ),
        targets=(Target("Patient", name, "id", "v1"),),
    )


# -- collisions -----------------------------------------------------------------------------------

TWO = (row("P1", name="a"), row("P1", name="b"))


def _plain_and_beside(manifest: Manifest) -> tuple[str, str]:
    plain, other = sorted(
        (each.key for each in manifest.landed_units("patients", limit=9)), key=len
    )
    return plain, other


@pytest.mark.parametrize("chosen", [0, 1], ids=["the first", "the one beside it"])
def test_the_believed_row_of_a_collision_is_due_and_the_other_explained(
    manifest: Manifest, chosen: int
) -> None:
    land(manifest, *TWO)
    keys = _plain_and_beside(manifest)
    believed, other = keys[chosen], keys[1 - chosen]
    decided = Decision(by="anna", choice=Choice.REDELIVER, approver="bob")
    assert manifest.decisions.believe("patients", believed, decided, run_id=1).others == (other,)
    assert states(manifest) == {
        believed: ("pending", ""),
        other: ("skipped", "superseded-by-decision"),
    }


@pytest.mark.parametrize("pages", [1, 2])
@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("met", [(TWO,), (TWO[:1], TWO[1:]), (TWO[1:], TWO[:1])])
@pytest.mark.parametrize("chosen", [0, 1], ids=["the first", "the one beside it"])
def test_a_decided_collision_stays_decided_however_the_rows_come_again(
    manifest: Manifest, chosen: int, met: tuple[tuple[PulledRow, ...], ...], first: int, pages: int
) -> None:
    """Else each pull would undo what a person decided, or deliver the row that was not believed."""
    for page in met:
        land(manifest, *page)
    keys = _plain_and_beside(manifest)
    manifest.decisions.believe("patients", keys[chosen], ANNA, run_id=1)
    manifest.settle([migrated(manifest.pending_units("patients")[0])], run_id=1)
    before = states(manifest)
    rows = TWO if first == 0 else TWO[::-1]
    for page in (rows,) if pages == 1 else ((rows[0],), (rows[1],)):
        land(manifest, *page, run_id=2)
        assert {each.key for each in manifest.pending_units("patients")} <= {keys[chosen]}
    assert manifest.balances()["patients"].eligible == 2
    again = states(manifest)
    assert again.pop(keys[chosen], ("pending", "")) == ("pending", "")
    assert again == before


@pytest.mark.parametrize("first", [0, 1])
def test_a_row_that_stood_alone_is_not_believed_once_another_has_its_key(
    manifest: Manifest, first: int
) -> None:
    """Neither is, whichever of the two would have the key to itself."""
    land(manifest, TWO[first])
    manifest.settle([migrated(manifest.pending_units("patients")[0])], run_id=1)
    land(manifest, *TWO, run_id=2)
    assert {each.reason for each in manifest.exceptions()} == {"duplicate-key"}
    assert manifest.balances()["patients"].by_state[State.QUARANTINED] == 2


def test_what_the_other_row_owned_in_medplum_is_the_believed_ones(manifest: Manifest) -> None:
    """Else its write would collide with its own record, and stay in quarantine."""
    land(manifest, TWO[0])
    manifest.settle([migrated(manifest.pending_units("patients")[0])], run_id=1)
    land(manifest, TWO[0], run_id=2)
    land(manifest, TWO[1], run_id=2)
    _plain, other = _plain_and_beside(manifest)
    manifest.decisions.believe("patients", other, ANNA, run_id=2)
    (unit,) = manifest.pending_units("patients")
    assert [each.fhir_id for each in unit.targets] == ["id-P1"]


def _decided_for_the_other(manifest: Manifest) -> tuple[str, str]:
    land(manifest, *TWO)
    plain, other = _plain_and_beside(manifest)
    manifest.decisions.believe("patients", other, ANNA, run_id=1)
    manifest.settle([migrated(manifest.pending_units("patients")[0])], run_id=1)
    return plain, other


@pytest.mark.parametrize("change", [row("P1", name="mended", at=9), tombstone("P1", at=9)])
def test_a_row_mended_or_deleted_at_the_source_takes_its_record_back(
    manifest: Manifest, change: PulledRow
) -> None:
    """The believed unit stands for content the source has no more."""
    plain, other = _decided_for_the_other(manifest)
    land(manifest, change, run_id=2)
    (unit,) = manifest.pending_units("patients")
    assert (unit.key, unit.deleted) == (plain, change.deleted)
    assert [each.token for each in unit.targets] == [patient_token(other)]
    assert states(manifest)[other] == ("skipped", "superseded-by-change")


def test_when_the_believed_row_is_gone_the_other_is_all_there_is(manifest: Manifest) -> None:
    """A sweep that removed its record would leave Medplum without a row the source still has."""
    plain, other = _decided_for_the_other(manifest)
    kept = next(each for each in manifest.landed_units("patients", limit=9) if each.key == plain)
    sweep = manifest.start_sweep("patients", run_id=2)
    manifest.land(
        "patients",
        [PulledRow("P1", kept.row)],
        run_id=2,
        reopen=False,
        alongside=Alongside(sweep=sweep),
    )
    (absent,) = manifest.absent_units(sweep)
    assert absent.key == other
    manifest.end_sweep(sweep, _end(absent))
    due = {each.key: each for each in manifest.pending_units("patients")}
    assert not due[plain].deleted
    assert due[other].deleted
    assert [each.token for each in due[plain].targets] == [patient_token(other)]
    assert due[other].targets == ()


def _end(gone: Absent) -> SweepEnd:
    return SweepEnd(verdict="believed", rows=1, absent=1, gone=(gone,))


def test_a_row_that_was_not_believed_is_not_sent_by_redelivering_everything(
    manifest: Manifest,
) -> None:
    _decided_for_the_other(manifest)
    due = manifest.decisions.redeliver(Selection(), ANNA)
    assert due.held_at_landing == {"superseded-by-decision": 1}
    assert manifest.pending_units("patients") == []


def test_a_changed_mind_is_one_more_decision(manifest: Manifest) -> None:
    plain, other = _decided_for_the_other(manifest)
    manifest.decisions.believe("patients", plain, ANNA, run_id=3)
    (unit,) = manifest.pending_units("patients")
    assert unit.key == plain
    assert [each.token for each in unit.targets] == [patient_token(other)]
    assert states(manifest)[other] == ("skipped", "superseded-by-decision")


def test_a_row_that_collides_with_none_cannot_be_believed(manifest: Manifest) -> None:
    quarantined(manifest, "P1")
    for key in ("P1", "P9"):
        with pytest.raises(Permanent, match="refused"):
            manifest.decisions.believe("patients", key, ANNA, run_id=1)


# -- pauses ---------------------------------------------------------------------------------------


def test_a_stream_stands_still_until_someone_resumes_it_and_both_are_kept(
    manifest: Manifest, clock: Clock
) -> None:
    why = {"unmapped-code at gender": 120}
    manifest.pauses.pause("patients", run_id=7, failed=120, seen=200, reasons=why)
    manifest.pauses.pause("patients", run_id=8, failed=1, seen=1, reasons={})
    (pause,) = manifest.pauses.standing().values()
    assert (pause.run_id, pause.at, dict(pause.reasons)) == (7, clock.now, why)
    assert manifest.pauses.resume("patients", by="anna", note="map has 9 now")
    assert not manifest.pauses.resume("patients", by="anna")
    assert manifest.pauses.standing() == {}
