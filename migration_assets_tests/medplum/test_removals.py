"""Removals and creations by policy: what is there is left as it is, or changed as declared only."""

from dataclasses import replace
from typing import Any

import pytest

from migration_assets.fhir.references import reference
from migration_assets.fhir.validation import problems
from migration_assets.medplum import (
    Ambiguous,
    Answer,
    MedplumClient,
    Member,
    Submission,
    Verdict,
    find_by_identifier,
)
from migration_assets_tests.medplum.submissions import (
    PATIENTS,
    Failing,
    answered,
    deliver,
    events,
    group,
    of_type,
    patient,
    single,
)

pytestmark = pytest.mark.sandbox
SUBJECT = {"reference": "Patient/x"}


def created(client: MedplumClient, member: Member) -> Member:
    """The member as the account knows it once it is in Medplum."""
    (answer,) = deliver(client, single(member))[0].answers
    return replace(member, fhir_id=answer.fhir_id, version_id=answer.version_id)


def held(client: MedplumClient, member: Member) -> dict[str, Any]:
    """What Medplum holds of it, found by search."""
    identifier = (member.system, member.value)
    (found,) = find_by_identifier(client, member.resource_type, [identifier])[identifier]
    return found


# -- removals ------------------------------------------------------------------------------------

CONDITION = of_type(
    "Condition",
    "C1",
    subject=SUBJECT,
    clinicalStatus={
        "coding": [
            {"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}
        ]
    },
)
ERROR = {
    "coding": [
        {
            "system": "http://terminology.hl7.org/CodeSystem/condition-ver-status",
            "code": "entered-in-error",
        }
    ]
}
LINKS = [{"other": {"reference": "Patient/other"}, "type": "replaced-by"}]


def patched(member: Member, **elements: Any) -> Member:
    """Its last content is not at hand any more: only where it is, and what to set in it."""
    return replace(member, body=None, patch=elements)


@pytest.mark.parametrize(
    ("member", "elements"),
    [
        (patient("P1"), {"active": False}),
        (patient("P1"), {"active": False, "link": LINKS}),
        (CONDITION, {"verificationStatus": ERROR, "clinicalStatus": None}),
        (patient("P1"), {"active": False, "birthDate": None}),
    ],
    ids=["inactive", "merged", "error", "removing-what-is-not-there"],
)
def test_a_record_whose_row_is_gone_is_marked_where_it_is(
    client: MedplumClient, member: Member, elements: dict[str, Any]
) -> None:
    there = created(client, member)
    (answer,) = deliver(client, single(patched(there, **elements)))[0].answers
    assert (answer.method, answer.event) == ("PATCH", "changed")
    found = held(client, member)
    assert {name: found.get(name) for name in elements} == elements
    assert (found["id"], found["meta"]["versionId"]) == (there.fhir_id, answer.version_id)
    assert found["identifier"] == (member.body or {})["identifier"]
    assert not problems({name: each for name, each in found.items() if name not in ("id", "meta")})
    again = patched(replace(there, version_id=answer.version_id), **elements)
    assert events(deliver(client, single(again))) == ["unchanged"]


def test_a_deletion_needs_no_body(client: MedplumClient) -> None:
    there = created(client, patient("P1"))
    assert events(deliver(client, single(replace(there, body=None)))) == ["deleted"]
    assert client.count("Patient") == 0


def test_a_patch_never_lands_on_a_version_nobody_looked_at(client: MedplumClient) -> None:
    """Contract §7: 5.0.10 ignores If-Match on PATCH, so the patch itself tests the version."""
    there = created(client, patient("P1"))
    deliver(client, single(replace(there, body=patient("P1", "Edited").body)))
    (ended,) = deliver(client, single(patched(there, active=False)))
    assert (ended.verdict, ended.reason) == (Verdict.HELD, "edited-in-medplum")
    assert "active" not in held(client, there)


def test_a_patch_whose_answer_got_lost_is_confirmed_and_not_held(client: MedplumClient) -> None:
    there = created(client, patient("P1"))
    failing = Failing(client, Ambiguous("reset"))
    (ended,) = deliver(failing, single(patched(there, active=False)))
    assert (ended.verdict, ended.answers[0].event) == (Verdict.WRITTEN, "confirmed")
    assert ended.answers[0].version_id == held(client, there)["meta"]["versionId"]


@pytest.mark.parametrize("known", ["somewhere", "nowhere"])
def test_marking_what_is_gone_already_is_done(client: MedplumClient, known: str) -> None:
    there = created(client, patient("P1"))
    deliver(client, single(replace(there, body=None)))
    fhir_id = there.fhir_id if known == "somewhere" else None
    gone = patched(Member("Patient", PATIENTS, "P1", None, fhir_id), active=False)
    (ended,) = deliver(client, single(gone))
    assert ended.verdict is Verdict.WRITTEN
    assert client.count("Patient") == 0


# -- create only ---------------------------------------------------------------------------------


def only(member: Member) -> Member:
    """The member, never to be overwritten."""
    return replace(member, create_only=True)


@pytest.mark.parametrize("exclusive", [True, False])
def test_what_is_only_created_never_overwrites_what_is_there(
    client: MedplumClient, exclusive: bool
) -> None:
    assert events(deliver(client, single(only(patient("P1"))), exclusive=exclusive)) == ["created"]
    (ended,) = deliver(client, single(only(patient("P1", "Later"))), exclusive=exclusive)
    assert (ended.verdict, [each.event for each in ended.answers]) == (Verdict.WRITTEN, ["found"])
    assert ended.answers[0].fhir_id == held(client, patient("P1"))["id"]
    assert held(client, patient("P1"))["name"] == [{"family": "Doe"}]


def test_what_somebody_else_creates_after_we_looked_is_not_overwritten(
    client: MedplumClient,
) -> None:
    """Between the look and the write: the server's own look decides (contract §4)."""

    class Slow(Failing):
        def post_bundle(self, body: bytes, entries: int) -> list[dict[str, Any]]:
            deliver(client, single(patient("P1", "Faster")))
            return super().post_bundle(body, entries)

    assert events(deliver(Slow(client), single(only(patient("P1"))))) == ["found"]
    assert held(client, patient("P1"))["name"] == [{"family": "Faster"}]


@pytest.mark.parametrize("key", ["a,b", "a\\b", "a|b", "a+b%c&d#e?f/g=h;i:j", "ü 小 🙂", "ne5"])
def test_no_character_makes_a_conditional_create_create_twice(
    client: MedplumClient, key: str
) -> None:
    """Each goes out as a create, as if the look before had found nothing."""

    class Blind(Failing):
        def search(self, resource_type: str, params: object) -> list[dict[str, Any]]:
            return []

    told = [events(deliver(Blind(client), single(only(patient(key))))) for _ in range(2)]
    assert told == [["created"], ["found"]]


@pytest.mark.parametrize("fault", [Ambiguous("reset"), answered("409", "x", "conflict")])
def test_a_create_only_that_must_be_tried_again_still_overwrites_nothing(
    client: MedplumClient, fault: Any
) -> None:
    failing = Failing(client, fault if isinstance(fault, Ambiguous) else lambda _entries: [fault])
    (ended,) = deliver(failing, single(only(patient("P1"))))
    assert ended.verdict is Verdict.WRITTEN
    assert [each.event for each in ended.answers] == ["found"]
    assert client.count("Patient") == 1


def test_a_create_only_that_lost_a_race_leaves_the_winner_as_it_is(client: MedplumClient) -> None:
    """The next look finds it, and knowing its id is no leave to write to it."""

    def overtaken(_entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        there = created(client, patient("P1"))
        deliver(client, single(replace(there, body=patient("P1", "Faster").body)))
        return [answered("409", "could not serialize access", "conflict")]

    (ended,) = deliver(Failing(client, overtaken), single(only(patient("P1"))))
    assert (ended.verdict, ended.answers[0].event) == (Verdict.WRITTEN, "found")
    assert held(client, patient("P1"))["name"] == [{"family": "Faster"}]


def test_a_member_that_is_there_stays_as_it_is_and_the_rest_of_its_group_refers_to_it(
    client: MedplumClient,
) -> None:
    """A medication shared by all: created with the first, referred to by the others."""
    encounter, note = group("E1", "Patient/x").members
    there = created(client, encounter)
    changed = {**(encounter.body or {}), "status": "cancelled"}
    shared = only(replace(encounter, body=changed))
    (ended,) = deliver(client, [Submission(1, (shared, note))])
    assert [each.event for each in ended.answers] == ["found", "created"]
    assert held(client, encounter)["status"] == "finished"
    assert held(client, note)["encounter"] == {"reference": f"Encounter/{there.fhir_id}"}
    assert reference("Encounter", "E1") != held(client, note)["encounter"]


def test_an_answer_tells_what_was_found_from_what_was_written(client: MedplumClient) -> None:
    """Both answer 200; only one of them means that Medplum says what we say."""
    there = created(client, patient("P1"))
    told: list[Answer] = []
    for member in (only(patient("P1")), there, replace(there, body=patient("P1", "New").body)):
        told += deliver(client, single(member))[0].answers
    assert [each.event for each in told] == ["found", "unchanged", "changed"]
