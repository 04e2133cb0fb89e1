"""What is changed in Medplum after the flip arrives in the legacy system, once, or is told."""

from collections import Counter
from typing import Any

import pytest

from migration_assets.adoption import read_adoption
from migration_assets.adoption.gates import Bounds
from migration_assets.errors import Permanent
from migration_assets.manifest import State
from migration_assets.manifest.write_back_ends import Choice, WriteBack
from migration_assets.mapping import Resource
from migration_assets.run import Way
from migration_assets.switching.evidence import Witnesses, legacy_edits
from migration_assets.switching.parts import Part
from migration_assets_tests.write_back.world import (
    ALL,
    MAPPINGS,
    PATIENT,
    World,
    description,
    named,
    now,
    phone,
)

COHORTS = """
[Patient]
phase = "read"
[Patient.cohorts.south]
phase = "write"
organization = "ORG2"
"""
ONE_WRITTEN = Counter({WriteBack.WRITTEN: 1})


def test_an_edit_in_medplum_arrives_in_the_legacy_system_once(world: World) -> None:
    version = world.edit(phone("+1 555 0199"))
    done = world.back()
    assert (done.noted, done.ended, done.open) == (1, ONE_WRITTEN, 0)
    assert world.row() == {**PATIENT, "phone": "+1 555 0199"}
    again = world.back()
    assert (again.noted, again.ended, again.total) == (0, Counter(), ONE_WRITTEN)
    (debt,) = world.debts()
    assert (debt.version_id, debt.attempts, debt.key) == (version, 1, "P1")
    assert [each["version"] for each in debt.versions] == [version]
    assert world.resource()["meta"]["versionId"] == version, "echoed"


def test_what_was_written_back_is_neither_pulled_nor_delivered_again_after_a_step_back(
    one_world: World,
) -> None:
    version = one_world.edit(phone("+1 555 0199"))
    one_world.back()
    one_world.flip("read")
    one_world.follow()
    one_world.follow(Way.BACKFILL)
    assert one_world.resource()["meta"]["versionId"] == version
    balance = one_world.account.balances()["patients"]
    assert (balance.eligible, balance.by_state[State.UNCHANGED]) == (2, 2)


def test_an_edit_that_both_made_is_sent_by_nobody(one_world: World) -> None:
    one_world.edit(phone("7"))
    one_world.at_the_desk(phone="7")
    assert one_world.back().ended == {WriteBack.UNCHANGED: 1}
    assert one_world.debts()[0].attempts == 0
    assert one_world.back().total == {WriteBack.UNCHANGED: 1}


@pytest.mark.parametrize("choice", [Choice.MEDPLUM, Choice.LEGACY])
def test_edits_of_both_sides_wait_for_a_person_and_neither_is_lost(
    one_world: World, choice: Choice
) -> None:
    one_world.edit(phone("theirs in Medplum"))
    one_world.at_the_desk(first_name="Theirs in the clinic")
    assert one_world.back().ended == {WriteBack.CONFLICT: 1}
    assert one_world.row() == {**PATIENT, "first_name": "Theirs in the clinic"}
    (debt,) = one_world.debts()
    assert (debt.reason, debt.attempts) == ("edited-in-legacy", 0)
    assert one_world.account.write_backs.open(["Patient"]) == 1
    assert one_world.back().total == {WriteBack.CONFLICT: 1}, "not decided by waiting"
    one_world.decide(choice)
    one_world.back()
    if choice is Choice.MEDPLUM:
        assert one_world.row() == {**PATIENT, "phone": "theirs in Medplum"}
        return
    assert one_world.row() == {**PATIENT, "first_name": "Theirs in the clinic"}
    one_world.flip("read")
    one_world.follow()
    held = one_world.resource()
    assert held["name"][0]["given"] == ["Theirs in the clinic"]
    assert held["telecom"][0]["value"] == PATIENT["phone"]


def test_an_edit_after_a_conflict_is_not_written_over_it(one_world: World) -> None:
    """What the clinic wrote is on account by then, and looks like nothing had happened."""
    one_world.edit(phone("1"))
    one_world.at_the_desk(first_name="Kept")
    one_world.back()
    one_world.edit(phone("2"))
    assert one_world.back().total == {WriteBack.SKIPPED: 1, WriteBack.CONFLICT: 1}
    assert (one_world.row() or {})["first_name"] == "Kept"


def test_the_same_edit_made_by_hand_settles_what_the_legacy_version_was_kept_for(
    one_world: World,
) -> None:
    one_world.edit(phone("1"))
    one_world.at_the_desk(first_name="Kept")
    one_world.back()
    one_world.decide(Choice.LEGACY)
    one_world.edit(lambda held: named("Kept")(phone(str(PATIENT["phone"]))(held)))
    assert one_world.back().ended == {WriteBack.UNCHANGED: 1}
    assert one_world.account.balances()["patients"].by_state[State.UNCHANGED] == 1
    assert one_world.account.write_backs.open(["Patient"]) == 0


def test_a_deletion_in_medplum_deletes_the_row_and_an_edited_row_waits(one_world: World) -> None:
    one_world.remove("P1")
    one_world.remove("P2")
    one_world.at_the_desk("P2", phone="edited meanwhile")
    # The clinic refuses nothing; what refers to P1 there is the clinic's to say.
    assert one_world.back().ended == {WriteBack.WRITTEN: 1, WriteBack.CONFLICT: 1}
    assert one_world.row("P1") is None
    assert (one_world.row("P2") or {})["phone"] == "edited meanwhile"
    assert one_world.back().ended == Counter()
    one_world.flip("read")
    one_world.follow()
    assert one_world.account.balances()["patients"].by_state[State.PENDING] == 0


def test_a_new_resource_becomes_one_row_and_is_known_from_then_on(world: World) -> None:
    world.whole()
    fhir_id = world.create(
        {
            "resourceType": "Patient",
            "name": [{"family": "New", "given": ["Zoe"]}],
            "birthDate": "2001-02",
            "managingOrganization": {
                "reference": f"Organization/{world.resource('ORG2', 'Organization')['id']}"
            },
        }
    )
    assert world.back().ended == ONE_WRITTEN
    (debt,) = world.debts()
    row = world.row(str(debt.key))
    assert row == {
        "patient_id": debt.key,
        "first_name": "Zoe",
        "last_name": "New",
        "birth_date": "2001-02",
        "organization_id": "ORG2",
    }
    held = world.resource(str(debt.key))
    assert held["id"] == fhir_id
    version = held["meta"]["versionId"]
    assert world.back().total == ONE_WRITTEN, "its own identifier is no edit"
    world.edit(phone("9"), str(debt.key))
    assert world.back().ended == ONE_WRITTEN
    assert (world.row(str(debt.key)) or {})["phone"] == "9"
    world.flip("read")
    world.follow(Way.BACKFILL)
    assert world.resource(str(debt.key))["id"] == fhir_id, "a duplicate"
    assert world.resource(str(debt.key))["meta"]["versionId"] != version


def _extension(held: Resource) -> Resource:
    return {**held, "extension": [{"url": "http://x.example/y", "valueString": "z"}]}


def _two_names(held: Resource) -> Resource:
    return {**held, "name": [*held["name"], {"family": "Nick"}]}


def _identifier(held: Resource) -> Resource:
    return {**held, "identifier": [{**held["identifier"][0], "value": "P9"}]}


_REFUSED: tuple[tuple[Any, str, str | None], ...] = (
    (_extension, "not-representable", "Patient.extension"),
    (_two_names, "not-representable", "Patient.name[1]"),
    (_identifier, "not-representable", "Patient"),
    (lambda held: {**held, "gender": "x"}, "no-local-code", "Patient.gender"),
    (
        lambda held: {**held, "managingOrganization": {"reference": "Organization/nowhere"}},
        "reference-not-on-account",
        "Patient.managingOrganization",
    ),
    (lambda held: {**held, "birthDate": "2999"}, "legacy-422", None),
)


def test_what_the_row_cannot_say_is_refused_with_its_place_and_nothing_of_it_is_written(
    one_world: World,
) -> None:
    before = one_world.resource()
    for change, reason, field in _REFUSED:
        one_world.clinic.fail_writes("refuse")
        one_world.put(phone("2")(change(before)))
        assert one_world.back().ended == {WriteBack.REFUSED: 1}
        debt = one_world.debts()[-1]
        assert (debt.reason, debt.field) == (reason, field)
        assert one_world.row() == PATIENT
        assert one_world.back().ended == Counter()
    one_world.clinic.fail_writes()
    one_world.decide(Choice.RETRY)
    assert one_world.back().ended == ONE_WRITTEN


def test_what_medplum_s_forms_leave_out_or_add_is_no_edit_of_what_the_row_says(
    one_world: World,
) -> None:
    """A form writes the standard coding alone, with its display as words, and other displays."""
    system = "http://terminology.hl7.org/CodeSystem/v3-MaritalStatus"
    one_world.edit(
        lambda held: {
            **held,
            "maritalStatus": {
                "coding": [{"system": system, "code": "M", "display": "married"}],
                "text": "married",
            },
            "text": {"status": "generated", "div": "<div>x</div>"},
        }
    )
    assert one_world.back().ended == ONE_WRITTEN
    assert one_world.row() == {**PATIENT, "marital_code": "M"}


def test_an_edit_that_says_nothing_new_is_settled_without_a_word_to_the_legacy_system(
    one_world: World,
) -> None:
    one_world.edit(lambda held: {**held, "meta": {**held["meta"], "tag": [{"code": "seen"}]}})
    one_world.clinic.fail_writes("refuse")
    assert one_world.back().ended == {WriteBack.UNCHANGED: 1}
    assert one_world.back().noted == 0


def test_of_a_group_each_part_is_written_back(one_world: World) -> None:
    one_world.whole()
    one_world.edit(lambda held: {**held, "summary": "All is better."}, "E1", "ClinicalImpression")
    assert one_world.back("Encounter").ended == ONE_WRITTEN
    assert (one_world.row("E1", "encounters") or {})["note"] == "All is better."
    one_world.edit(lambda held: {**held, "status": "finished"}, "E1", "Encounter")
    assert one_world.back("Encounter").ended == {WriteBack.REFUSED: 1}
    assert one_world.debts("Encounter")[-1].field == "ClinicalImpression.status"
    one_world.edit(lambda held: {**held, "status": "completed"}, "E1", "ClinicalImpression")
    one_world.decide(Choice.RETRY, "Encounter")
    assert one_world.back("Encounter").ended == {WriteBack.WRITTEN: 1, WriteBack.UNCHANGED: 1}
    assert (one_world.row("E1", "encounters") or {})["status"] == "finished"


def test_what_stood_in_medplum_without_a_row_before_the_flip_makes_none(one_world: World) -> None:
    parts = {"resourceType": "Patient", "name": [{"family": "Old"}]}
    one_world.create(parts)
    with one_world.account.ledger("write-back Patient") as page:
        page.write("2020-01-01T00:00:00+00:00")
    one_world.flip("read")
    before = one_world.clinic.counts()["patients"]
    assert one_world.back().ended == Counter(), "after a step back nothing new is looked for"
    assert one_world.clinic.counts()["patients"] == before


def test_nothing_is_written_back_of_a_type_that_the_legacy_system_owns(one_world: World) -> None:
    one_world.phase = "read"
    with pytest.raises(Permanent, match="the legacy system owns it"):
        one_world.back()
    one_world.phase = "retired"
    with pytest.raises(Permanent, match="out of use"):
        one_world.back()


def test_the_gate_counts_no_write_of_our_own_as_a_legacy_edit(one_world: World) -> None:
    """Else a type that is written back could never be retired."""
    begin = now()
    witnesses = Witnesses(
        manifest=one_world.account,
        adoption=read_adoption(ALL.format("write")),
        clock=now,
        bounds=Bounds(),
        puller=one_world.puller,
        source=description(),
    )
    one_world.edit(phone("1"))
    one_world.remove("P2")
    one_world.create({"resourceType": "Patient", "name": [{"family": "New"}]})
    one_world.back()
    mapping = MAPPINGS["Patient"]
    whole = Part(one_world.account, mapping, witnesses.adoption.standing("Patient"))
    assert legacy_edits(witnesses, mapping, begin, whole) == 0
    one_world.at_the_desk(phone="edited in the clinic")
    assert legacy_edits(witnesses, mapping, begin, whole) == 1


def test_of_a_type_with_cohorts_only_what_medplum_owns_is_written_back(one_world: World) -> None:
    one_world.whole()
    one_world.declared = COHORTS
    part = read_adoption(COHORTS).standing("Patient")
    Part(one_world.account, MAPPINGS["Patient"], part, part.cohort("south"))  # notes who is where
    one_world.edit(phone("1"))
    one_world.edit(phone("2"), "P2")
    one_world.create({"resourceType": "Patient", "name": [{"family": "New"}]})
    done = one_world.back()
    assert done.ended == {WriteBack.WRITTEN: 1, WriteBack.SKIPPED: 1, WriteBack.REFUSED: 1}
    assert (one_world.row("P1") or {})["phone"] == PATIENT["phone"]
    reasons = {each.reason: each.key for each in one_world.debts()}
    assert reasons == {"owned-by-legacy": "P1", None: "P2", "cohort-unknown": None}
