"""A cutover step by step: nothing is flipped that is not proved, and nothing is done twice."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from migration_assets.adoption import Phase
from migration_assets.errors import Permanent
from migration_assets.switching.cutover.plan import Came, CutoverStep
from migration_assets.switching.cutover.runbook import advance
from migration_assets_tests.reconciliation.clinic import Clinic
from migration_assets_tests.scripted import PATIENTS
from migration_assets_tests.switching.runbook import ME, PLAN, SIGNED, Hand, Runbook, created

REASON = replace(ME, reason="the new chart was slow")
FORCED = replace(REASON, forced=True)


@pytest.fixture
def runbook(clinic: Clinic, tmp_path: Path) -> Runbook:
    return Runbook(clinic, tmp_path)


def _write_flag(runbook: Runbook) -> str:
    told = json.loads((runbook.folder / "flags.json").read_text(encoding="utf-8"))
    return str(told["types"]["Patient"]["write"])


def test_a_whole_cutover_waits_where_it_must_and_ends_retired(runbook: Runbook) -> None:
    runbook.begin()
    first = runbook.advance()
    assert (first[CutoverStep.FREEZE].came, runbook.due()) == (Came.WAITS, CutoverStep.FREEZE)
    assert "1 of 3 quiet polls" in first[CutoverStep.FREEZE].said
    runbook.later(seconds=299)
    assert "next look is due" in runbook.advance()[CutoverStep.FREEZE].said
    for _poll in range(2):
        runbook.later(seconds=301)
        went = runbook.advance()
    assert list(went) == list(CutoverStep)[:4], "freeze is proved, and what follows needs no wait"
    assert "signature is missing" in went[CutoverStep.VERIFY].said
    spent = len(runbook.clinic.account.reconciliations.latest(limit=50))
    signed = runbook.advance(SIGNED)
    assert len(runbook.clinic.account.reconciliations.latest(limit=50)) > spent, (
        "what somebody did in Medplum meanwhile would be signed unseen"
    )
    assert [signed[each].came for each in signed] == [Came.DONE, Came.DONE, Came.WAITS]
    assert (runbook.phase, _write_flag(runbook)) == (Phase.WRITE, "medplum")
    runbook.later(hours=1)
    assert runbook.advance()[CutoverStep.RETIRE].came is Came.DONE
    assert (runbook.phase, runbook.cutover.outcome) == (Phase.RETIRED, "retired")
    looks = {each.step: each for each in runbook.clinic.account.cutovers.looks(runbook.cutover.id)}
    assert looks["verify"].evidence["approved_by"] == "Dr. Who"
    assert (looks["retire"].evidence["page"], len(looks["flip"].evidence["phase_changes"])) == (
        "report.html", 1,
    )  # fmt: skip
    assert all(each.forced is False for each in runbook.clinic.account.switching.changes())


def test_somebody_who_goes_on_writing_is_seen_and_brought_over_and_the_count_begins_anew(
    runbook: Runbook,
) -> None:
    runbook.begin()
    runbook.advance()
    runbook.later(seconds=301)
    runbook.edited_in_legacy("P1", "Late")
    noisy = runbook.advance()[CutoverStep.FREEZE]
    assert "not frozen" in noisy.said
    assert runbook.family("P1") == "Late"
    assert runbook.due() is CutoverStep.FREEZE
    runbook.later(seconds=301)
    assert list(runbook.freeze()) == list(CutoverStep)[:4]


def test_what_others_landed_between_two_polls_is_no_silence(runbook: Runbook) -> None:
    """The sensor pulls it within seconds: when we ask, there is no news any more."""
    runbook.begin()
    runbook.advance()
    runbook.edited_in_legacy("P1", "Quick")
    runbook.clinic.migrate()
    runbook.later(seconds=301)
    assert runbook.advance()[CutoverStep.FREEZE].evidence["landed_by_others"] == 1


@pytest.mark.parametrize("when", [CutoverStep.FINAL_DELTA, CutoverStep.FLIP])
def test_an_edit_after_the_freeze_was_proved_sends_back_to_the_freeze_and_is_not_lost(
    runbook: Runbook, when: CutoverStep
) -> None:
    runbook.begin()
    if when is CutoverStep.FLIP:
        runbook.freeze()
    else:
        runbook.in_inbox = 1
        assert "inbox" in runbook.freeze()[CutoverStep.DRAIN].said
        runbook.in_inbox = 0
    runbook.edited_in_legacy("P2", "Latest")
    seen = runbook.advance(SIGNED)
    assert seen[when].came is Came.BROKEN
    assert (runbook.due(), runbook.phase) == (CutoverStep.FREEZE, Phase.READ)
    runbook.advance()
    runbook.freeze()
    assert runbook.advance(SIGNED)[CutoverStep.FLIP].came is Came.DONE
    assert runbook.family("P2") == "Latest"


def test_a_row_that_vanished_without_a_word_is_gone_in_medplum_before_the_flip(
    runbook: Runbook,
) -> None:
    runbook.clinic.source.drop("patients", "P2")
    runbook.flip()
    held = [each["identifier"][0]["value"] for each in runbook.clinic.client.search("Patient", {})]
    assert (runbook.phase, held) == (Phase.WRITE, ["P1"])


def test_what_waits_or_failed_holds_the_flip_until_somebody_explains_it(runbook: Runbook) -> None:
    at = 10_000_000
    runbook.clinic.source.put("patients", "P3", at=at, organization="nowhere")
    runbook.clinic.migrate()
    runbook.begin()
    assert "1 row without what they refer to" in runbook.freeze()[CutoverStep.DRAIN].said
    assert runbook.phase is Phase.READ


def test_a_difference_in_medplum_holds_the_flip(runbook: Runbook) -> None:
    runbook.begin()
    runbook.edited_in_medplum("P1", "Edited")
    assert "1 finding" in runbook.freeze()[CutoverStep.VERIFY].said
    assert runbook.advance(SIGNED)[CutoverStep.VERIFY].came is Came.WAITS


def test_what_is_deleted_in_medplum_between_proof_and_signature_holds_the_flip(
    runbook: Runbook,
) -> None:
    """No account of ours tells of it: who signs days later would sign what is no longer so."""
    runbook.begin()
    runbook.freeze()
    runbook.later(seconds=1)
    runbook.clinic.delete("P1")
    assert "1 finding" in runbook.advance(SIGNED)[CutoverStep.VERIFY].said
    assert runbook.phase is Phase.READ


def test_a_shut_gate_holds_the_flip_and_a_reason_is_kept_where_it_is_forced(
    runbook: Runbook,
) -> None:
    from migration_assets.adoption.gates import Bounds  # noqa: PLC0415 - only here

    runbook.begin()
    runbook.freeze()
    runbook.advance(SIGNED, bounds=Bounds(days=7))
    assert (runbook.phase, runbook.due()) == (Phase.READ, CutoverStep.FLIP)
    assert runbook.advance(FORCED, bounds=Bounds(days=7))[CutoverStep.FLIP].came is Came.DONE
    (change,) = runbook.clinic.account.switching.changes("Patient")
    assert (change.forced, change.reason) == (True, "the new chart was slow")


@pytest.mark.parametrize("cut", ["begin", "replace", "applied", "publish"])
def test_a_flip_that_is_cut_off_anywhere_is_found_and_finished(
    runbook: Runbook, monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    """Nothing is recorded twice as made, and front ends are told in the end."""

    class Killed(BaseException):
        """The process ends here."""

    def dies(*_arguments: object, **_options: object) -> None:
        raise Killed

    runbook.begin()
    runbook.freeze()
    places = {
        "begin": "migration_assets.manifest.switching.Switching.begin",
        "replace": "migration_assets.switching.changing.replace_file",
        "applied": "migration_assets.manifest.switching.Switching.applied",
        "publish": "migration_assets.switching.cutover.desk.publish",
    }
    with monkeypatch.context() as patched:
        patched.setattr(places[cut], dies)
        with pytest.raises(Killed):
            runbook.advance(SIGNED)
    assert runbook.due() is CutoverStep.FLIP
    flipped = cut in {"applied", "publish"}
    assert runbook.phase is (Phase.WRITE if flipped else Phase.READ)
    if flipped:
        with pytest.raises(Permanent, match="flipped"):
            runbook.abort(REASON)
    runbook.later(seconds=1)
    assert runbook.advance()[CutoverStep.FLIP].came is Came.DONE
    assert (runbook.phase, _write_flag(runbook)) == (Phase.WRITE, "medplum")
    made = [each for each in runbook.clinic.account.switching.changes("Patient") if each.applied_at]
    assert len(made) == 1
    assert runbook.clinic.account.switching.since("Patient", "write") is not None


def test_an_edit_in_the_legacy_system_after_the_flip_is_an_alarm_for_the_owner(
    runbook: Runbook,
) -> None:
    runbook.flip()
    runbook.later(minutes=30)
    runbook.edited_in_legacy("P1", "Stray")
    alarm = runbook.advance()[CutoverStep.OBSERVE]
    assert alarm.came is Came.ALARM
    assert "the lead decides" in alarm.said
    runbook.later(hours=2)
    assert runbook.advance()[CutoverStep.OBSERVE].came is Came.ALARM, "it does not go by itself"
    settled = runbook.advance(replace(FORCED, reason="typed over by hand"))
    assert settled[CutoverStep.OBSERVE].evidence["reason"] == "typed over by hand"
    runbook.later(minutes=59)
    assert runbook.advance()[CutoverStep.OBSERVE].came is Came.WAITS, "the time begins anew"
    runbook.edited_in_legacy("P1", "Again")
    runbook.later(minutes=1)
    assert runbook.advance()[CutoverStep.OBSERVE].came is Came.ALARM


def test_an_edit_between_the_end_of_the_observation_and_the_last_step_is_an_alarm_too(
    runbook: Runbook,
) -> None:
    """The gate looks back whole days; an edit of the last minutes would be nobody's."""
    runbook.flip()
    runbook.later(hours=1)
    desk = runbook.desk()
    assert list(advance(desk, PATIENTS, runbook.cutover, ME, only=CutoverStep.OBSERVE))
    assert runbook.due() is CutoverStep.RETIRE
    runbook.edited_in_legacy("P1", "Stray")
    assert runbook.advance()[CutoverStep.RETIRE].came is Came.ALARM
    assert runbook.phase is Phase.WRITE
    assert runbook.advance(FORCED)[CutoverStep.RETIRE].came is Came.DONE


def test_an_abort_leaves_the_phase_and_the_next_cutover_begins_at_the_beginning(
    runbook: Runbook,
) -> None:
    runbook.begin()
    runbook.freeze()
    with pytest.raises(Permanent, match="reason"):
        runbook.abort(ME)
    with pytest.raises(Permanent, match="Nothing was flipped"):
        runbook.back(REASON)
    runbook.abort(REASON)
    assert (runbook.phase, runbook.cutover.outcome, runbook.cutover.reason) == (
        Phase.READ, "aborted", REASON.reason,
    )  # fmt: skip
    with pytest.raises(Permanent, match="has ended"):
        runbook.advance()
    runbook.begin()
    assert runbook.due() is CutoverStep.FREEZE


def test_a_cutover_begins_in_phase_read_and_with_an_owner(runbook: Runbook) -> None:
    with pytest.raises(Permanent, match="--owner"):
        runbook.begin(replace(PLAN, owner=" "))
    runbook.path.write_text('Patient = "backfill"')
    with pytest.raises(Permanent, match="begins in phase read"):
        runbook.begin()


def test_a_phase_that_was_moved_by_hand_meanwhile_stops_the_cutover(runbook: Runbook) -> None:
    runbook.begin()
    runbook.path.write_text('Patient = "backfill"')
    with pytest.raises(Permanent, match="by now"):
        runbook.advance()


def test_what_was_written_in_medplum_is_taken_back_before_the_puller_may_write_again(
    runbook: Runbook,
) -> None:
    hand = Hand(left=2)
    runbook.takes_back = hand
    runbook.flip()
    held = runbook.back(REASON)
    assert "2 changes made in Medplum" in held.said
    assert (runbook.phase, _write_flag(runbook)) == (Phase.WRITE, "medplum")
    hand.left = 0
    done = runbook.back(REASON)
    assert (done.came, done.evidence["taken_back/written"]) == (Came.DONE, 2)
    assert (runbook.phase, _write_flag(runbook)) == (Phase.READ, "legacy")
    assert (runbook.cutover.outcome, runbook.cutover.reason) == ("rolled_back", REASON.reason)


def test_without_a_reverse_mapping_edits_additions_and_deletions_hold_a_rollback(
    runbook: Runbook,
) -> None:
    runbook.flip()
    assert runbook.back(REASON).came is Came.DONE, "nothing was written there"
    runbook.later(seconds=1)
    runbook.flip()
    runbook.edited_in_medplum("P1", "Kept")
    runbook.clinic.post(created())
    runbook.clinic.delete("P2")
    held = runbook.back(REASON)
    assert (held.came, held.evidence["written_there"], held.evidence["deleted_there"]) == (
        Came.WAITS, 2, 1,
    )  # fmt: skip
    assert "by hand" in held.said
    left = runbook.back(FORCED)
    assert (left.came, left.evidence["left_behind"]) == (Came.DONE, 3)
    assert runbook.phase is Phase.READ


@pytest.mark.parametrize("cut", ["replace", "applied", "told"])
def test_a_rollback_that_is_cut_off_is_finished_by_the_next(
    runbook: Runbook, monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    class Killed(BaseException):
        """The process ends here."""

    def dies(*_arguments: object, **_options: object) -> None:
        raise Killed

    runbook.flip()
    places = {
        "replace": "migration_assets.switching.changing.replace_file",
        "applied": "migration_assets.manifest.switching.Switching.applied",
        "told": "migration_assets.manifest.cutovers.Cutovers.looked",
    }
    with monkeypatch.context() as patched:
        patched.setattr(places[cut], dies)
        with pytest.raises(Killed):
            runbook.back(REASON)
    assert _write_flag(runbook) == "legacy", "nobody writes there any more when the puller may"
    runbook.later(seconds=1)
    assert runbook.back(REASON).came is Came.DONE
    assert (runbook.phase, runbook.cutover.outcome) == (Phase.READ, "rolled_back")
    assert runbook.clinic.account.switching.since("Patient", "read") is not None


def test_with_medplum_down_a_rollback_waits_unless_it_is_forced(runbook: Runbook) -> None:
    """It is needed most when things are down; what could not be asked is on account."""

    class Away:
        """Medplum, down."""

        pacer = runbook.clinic.client.pacer

        def __getattr__(self, _name: str) -> object:
            def away(*_arguments: object) -> None:
                raise Permanent("Medplum refuses.")

            return away

    runbook.flip()
    runbook.takes_back = Hand()
    desk = runbook.desk()
    run = replace(desk.run, fhir=Away())  # type: ignore[arg-type]  # down
    with pytest.raises(Permanent):
        runbook.back(REASON, run=run)
    assert runbook.phase is Phase.WRITE
    done = runbook.back(FORCED, run=run)
    assert (done.came, done.evidence["front_ends_not_told"], runbook.phase) == (
        Came.DONE, 1, Phase.READ,
    )  # fmt: skip
