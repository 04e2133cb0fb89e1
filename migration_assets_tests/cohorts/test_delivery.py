"""Delivery by cohort: nothing is written over what Medplum owns, and nothing is guessed."""

from datetime import timedelta

import pytest

from migration_assets.adoption import read_adoption
from migration_assets.errors import Permanent
from migration_assets.fhir.identifiers import identifier_system
from migration_assets.manifest import Selection, State
from migration_assets.manifest.cohorts import MOVED, NOT_OURS, REHEARSED
from migration_assets.manifest.dead_letters import Choice, Decision
from migration_assets.manifest.subsets import Subset
from migration_assets.operations.rehearsed_rows import landed_rows
from migration_assets.operations.rehearsing import Rehearsal
from migration_assets.steps.cohorts import note_all
from migration_assets_tests.cohorts.houses import (
    declared,
    family,
    founded,
    outcome,
    pull,
    under,
)
from migration_assets_tests.reconciliation.clinic import Clinic
from migration_assets_tests.reconciliation.test_references import ENCOUNTERS
from migration_assets_tests.scripted import PATIENTS

DONE = (State.MIGRATED, "", "")


def _redelivered(clinic: Clinic, reason: str) -> None:
    decision = Decision(by="a person", choice=Choice.REDELIVER)
    clinic.account.decisions.redeliver(Selection(reason=reason), decision)


def test_what_medplum_owns_of_a_type_is_not_written_over_and_the_rest_goes_on(
    on_each: Clinic,
) -> None:
    clinic = on_each
    founded(clinic, declared())
    for key, house in (("PN", "O1"), ("PS", "O2"), ("P0", None)):
        clinic.source.put("patients", key, organization=house, family="Changed", at=60)
    clinic.source.put("visits", "VN", patient="PN", organization="O1", at=60)
    pull(clinic, declared(north="write"))
    assert family(clinic, "PN") == "Doe"
    assert (family(clinic, "PS"), family(clinic, "P0")) == ("Changed", "Changed")
    assert outcome(clinic, "PN") == (State.SKIPPED, NOT_OURS, "north")
    assert outcome(clinic, "VN", "visits") == (State.SKIPPED, NOT_OURS, "north")
    assert "extension" not in clinic.held("VN", "Encounter")
    balance = clinic.account.balances()["patients"]
    assert balance.holds
    assert not balance.by_state[State.PENDING]


def test_back_again_what_was_left_out_meanwhile_is_delivered_without_a_pull(
    clinic: Clinic,
) -> None:
    founded(clinic, declared())
    clinic.source.put("patients", "PN", organization="O1", family="Changed", at=60)
    pull(clinic, declared(north="write"))
    clinic.source.rows["patients"].clear()
    pull(clinic, declared(north="read"))
    assert family(clinic, "PN") == "Changed"
    assert outcome(clinic, "PN") == DONE


def test_a_deletion_in_the_legacy_system_deletes_nothing_of_what_medplum_owns(
    clinic: Clinic,
) -> None:
    founded(clinic, declared())
    clinic.source.delete("patients", "PN", at=60)
    clinic.source.rows["patients"][-1].row.clear()  # a tombstone that says no more than the key
    pull(clinic, declared(north="retired"))
    assert clinic.held("PN")
    assert outcome(clinic, "PN") == (State.SKIPPED, NOT_OURS, "north")


def test_a_cohort_that_rehearses_is_not_written_and_is_once_it_may_be(clinic: Clinic) -> None:
    founded(clinic, declared(north="rehearse"))
    keys = {each["identifier"][0]["value"] for each in clinic.client.search("Patient", {})}
    assert keys == {"PS", "P0"}
    assert outcome(clinic, "PN") == (State.SKIPPED, REHEARSED, "north")
    assert outcome(clinic, "VN", "visits")[1] == "awaiting-reference"
    chunks = landed_rows(clinic.account, "patients", Subset())
    rehearsal = Rehearsal(clinic.account, clinic.client, declared(north="rehearse"))
    seen = {each.unit.key: each.state for each in rehearsal.rehearse(PATIENTS, chunks)}
    assert seen["PN"] is State.MIGRATED  # what it would be is what a rehearsal is for
    pull(clinic, declared())
    assert outcome(clinic, "PN") == DONE
    assert outcome(clinic, "VN", "visits") == DONE


@pytest.mark.parametrize(("was", "house"), [("PN", "O2"), ("PS", "O1"), ("PN", None)])
def test_who_moves_out_of_or_into_what_medplum_owns_waits_for_a_person(
    clinic: Clinic, was: str, house: str | None
) -> None:
    """Out: people's edits may be written over. In: the move itself would be lost in silence."""
    founded(clinic, declared())
    adoption = declared(north="write")
    clinic.source.put("patients", was, organization=house, family="Moved", at=60)
    pull(clinic, adoption)
    assert family(clinic, was) == "Doe"
    state, reason, field = outcome(clinic, was)
    ways = {"PN": f"north>{'south' if house else '-'}", "PS": "south>north"}
    assert (state, reason, field) == (State.QUARANTINED, MOVED, ways[was])
    pull(clinic, adoption)  # another pull decides nothing
    assert outcome(clinic, was)[1] == MOVED
    _redelivered(clinic, MOVED)
    pull(clinic, adoption)
    into = house == "O1"
    assert family(clinic, was) == ("Doe" if into else "Moved")
    assert outcome(clinic, was) == ((State.SKIPPED, NOT_OURS, "north") if into else DONE)


def test_an_edit_made_in_medplum_is_not_written_over_by_a_move_that_was_sent_on(
    clinic: Clinic,
) -> None:
    founded(clinic, declared())
    adoption = declared(north="write")
    held = clinic.held("PN")
    clinic.put({**held, "name": [{"family": "Edited"}]})
    clinic.source.put("patients", "PN", organization="O2", family="Moved", at=60)
    pull(clinic, adoption)
    _redelivered(clinic, MOVED)
    pull(clinic, adoption)
    assert family(clinic, "PN") == "Edited"
    assert outcome(clinic, "PN")[:2] == (State.QUARANTINED, "edited-in-medplum")


def test_who_moves_between_cohorts_that_are_both_ours_is_delivered(clinic: Clinic) -> None:
    founded(clinic, declared())
    clinic.source.put("patients", "PN", organization="O2", family="Moved", at=60)
    pull(clinic, declared())
    assert (family(clinic, "PN"), outcome(clinic, "PN")) == ("Moved", DONE)
    clinic.source.put("visits", "VN", patient="PN", organization="O2", at=90)
    pull(clinic, declared(north="write"))  # its patient is of the south since
    assert outcome(clinic, "VN", "visits") == (State.QUARANTINED, MOVED, "north>south")


def test_whose_patient_nobody_knows_is_held_and_not_taken_for_somebody_elses(
    clinic: Clinic,
) -> None:
    """The patient is in Medplum, from another hand: its house is not on account."""
    founded(clinic, declared())
    system = identifier_system("Patient")
    other = {"resourceType": "Patient", "identifier": [{"system": system, "value": "PX"}]}
    clinic.post(other)
    clinic.source.put("visits", "VX", patient="PX", at=60)
    clinic.source.put("visits", "VY", patient="PY", at=60)
    pull(clinic, declared(north="write"))
    assert outcome(clinic, "VX", "visits")[:2] == (State.QUARANTINED, "cohort-unknown")
    assert outcome(clinic, "VY", "visits")[:2] == (State.QUARANTINED, "awaiting-reference")
    keys = {each["identifier"][0]["value"] for each in clinic.client.search("Encounter", {})}
    assert keys == {"VN", "VS"}
    for key, house in (("PX", "O2"), ("PY", "O1")):
        clinic.source.put("patients", key, organization=house, at=90)
    pull(clinic, declared(north="write"))
    assert outcome(clinic, "VX", "visits") == DONE
    assert outcome(clinic, "PY") == (State.SKIPPED, NOT_OURS, "north")
    assert outcome(clinic, "VY", "visits")[:2] == (State.QUARANTINED, "awaiting-reference")


def test_a_row_of_two_cohorts_that_stand_differently_is_held(clinic: Clinic) -> None:
    founded(clinic, declared())
    clinic.source.put("visits", "VN", patient="PN", organization="O2", at=60)
    pull(clinic, declared(north="write"))
    assert outcome(clinic, "VN", "visits")[:2] == (State.QUARANTINED, "cohort-ambiguous")
    pull(clinic, declared())
    assert outcome(clinic, "VN", "visits") == DONE


def test_a_row_that_cannot_be_mapped_is_delivered_into_no_cohort(clinic: Clinic) -> None:
    founded(clinic, declared())
    clinic.source.put("patients", "PN", organization=["O2"], family="Broken", at=60)
    pull(clinic, declared(north="write"))
    assert outcome(clinic, "PN")[0] is State.QUARANTINED
    assert family(clinic, "PN") == "Doe"


def test_an_old_record_that_changes_is_still_of_its_period_where_medplum_owns_that(
    clinic: Clinic,
) -> None:
    """A change gives it a new change time: without a note of where it was it passes for ours."""
    founded(clinic, declared())
    history = read_adoption(
        'Organization = "backfill"\n[Patient]\nphase = "read"\n'
        '[Patient.cohorts.history]\nuntil = 2026-01-02\nphase = "write"\n'
    )
    later = int(timedelta(days=40).total_seconds())
    clinic.source.put("patients", "PN", organization="O1", family="Changed", at=later)
    clinic.source.put("patients", "NEW", family="New", at=later)
    pull(clinic, history, [PATIENTS])
    assert outcome(clinic, "PN") == (State.QUARANTINED, MOVED, "history>-")
    assert family(clinic, "PN") == "Doe"
    assert family(clinic, "NEW") == "New"


def test_each_cohort_has_the_authority_that_it_declares(clinic: Clinic) -> None:
    founded(clinic, declared())
    adoption = read_adoption(
        'Organization = "backfill"\n[Patient]\nphase = "read"\n'
        '[Patient.cohorts.north]\norganization = "O1"\nphase = "read"\nauthority = "legacy"\n'
        '[Patient.cohorts.south]\norganization = "O2"\nphase = "read"\n'
    )
    for key, house in (("PN", "O1"), ("PS", "O2")):
        clinic.put({**clinic.held(key), "name": [{"family": "Edited"}]})
        clinic.source.put("patients", key, organization=house, family="Row", at=60)
    pull(clinic, adoption, [PATIENTS])
    assert (family(clinic, "PN"), family(clinic, "PS")) == ("Row", "Edited")
    assert outcome(clinic, "PS")[:2] == (State.QUARANTINED, "edited-in-medplum")


def test_other_terms_make_other_cohorts_and_nobody_has_moved_by_that(clinic: Clinic) -> None:
    founded(clinic, declared())
    swapped = read_adoption(
        'Organization = "backfill"\n[Patient]\nphase = "backfill"\n'
        '[Patient.cohorts.north]\norganization = "O2"\nphase = "write"\n'
    )
    for key, house in (("PN", "O1"), ("PS", "O2")):
        clinic.source.put("patients", key, organization=house, family="Changed", at=60)
    pull(clinic, swapped, [PATIENTS])
    assert (family(clinic, "PN"), family(clinic, "PS")) == ("Changed", "Doe")
    assert outcome(clinic, "PS") == (State.SKIPPED, NOT_OURS, "north")


def test_a_type_whose_cohorts_are_all_medplums_is_not_pulled_and_says_so() -> None:
    owned = declared(north="write", south="retired", own="write").standing("Patient")
    assert (owned.may_pull, owned.may_deliver, owned.owned_by_medplum) == (False, False, True)
    assert "Medplum owns this type" in owned.refusal
    partly = declared(north="write").standing("Patient")
    assert (partly.may_pull, partly.may_deliver, partly.owned_by_medplum) == (True, True, False)
    assert "north: write" in partly.refused_cohorts


def test_everybody_on_account_is_noted_once_and_counted_by_cohort(on_each: Clinic) -> None:
    founded(on_each, declared())
    standing = declared(north="write").standing("Encounter")
    note_all(on_each.account, ENCOUNTERS, standing)
    counts = on_each.account.cohorts.balances("visits", standing.declaration)
    assert {name: each.eligible for name, each in counts.items()} == {"north": 1, "south": 1}
    under(on_each, declared(north="write"))
    with pytest.raises(Permanent):
        declared(more='[Encounter.cohorts.x]\nphase = "read"\n')
