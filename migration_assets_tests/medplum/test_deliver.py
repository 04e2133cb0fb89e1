"""Delivering: one resource per identifier, whatever Medplum or the line answers."""

from typing import Any

import pytest

from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets.errors import Transient
from migration_assets.fhir.references import reference
from migration_assets.medplum import (
    Ambiguous,
    MedplumClient,
    Member,
    Submission,
    Unacceptable,
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


def stored(client: MedplumClient, *keys: str) -> dict[str, list[str]]:
    """Family names in Medplum per key, found by search."""
    found = find_by_identifier(client, "Patient", [(PATIENTS, key) for key in keys])
    return {key: [each["name"][0]["family"] for each in found[PATIENTS, key]] for key in keys}


@pytest.mark.parametrize("exclusive", [True, False])
def test_delivering_twice_writes_once(client: MedplumClient, exclusive: bool) -> None:
    submissions = single(patient("P1"), patient("P2"))
    assert events(deliver(client, submissions, exclusive=exclusive)) == ["created", "created"]
    assert events(deliver(client, submissions, exclusive=exclusive)) == ["unchanged", "unchanged"]
    assert stored(client, "P1", "P2") == {"P1": ["Doe"], "P2": ["Doe"]}


@pytest.mark.parametrize(
    "key", ["a,b", "a\\b", "a|b", "a b", "a+b%c&d#e?f/g=h;i:j", "ü 小 🙂", "ne5", "(a)*$'\""]
)
def test_no_character_of_an_identifier_makes_a_duplicate(client: MedplumClient, key: str) -> None:
    """Contract §2: unescaped, a comma or a backslash creates another resource every time."""
    for _ in range(2):
        deliver(client, single(patient(key)))
    assert stored(client, key) == {key: ["Doe"]}


@pytest.mark.parametrize("exclusive", [True, False])
def test_an_answer_lost_after_medplum_accepted_writes_nothing_twice(
    client: MedplumClient, exclusive: bool
) -> None:
    """Contract §3: the server finishes what it got, and a blind POST again doubles every record."""
    failing = Failing(client, Ambiguous("the connection was reset"))
    delivered = deliver(failing, single(patient("P1"), patient("P2")), exclusive=exclusive)
    assert [each.verdict for each in delivered] == [Verdict.WRITTEN, Verdict.WRITTEN]
    assert stored(client, "P1", "P2") == {"P1": ["Doe"], "P2": ["Doe"]}


@pytest.mark.parametrize(
    "failure",
    [
        answered("409", "could not serialize access", "conflict"),
        answered("400", "Resource ID did not match resolved ID"),
        answered("400", "Assigned ID is already in use"),
        answered("504", "timeout", "timeout"),
    ],
)
def test_a_lost_race_is_tried_again_and_is_not_a_rejected_record(
    client: MedplumClient, failure: dict[str, object]
) -> None:
    """Contract §3: two of Medplum's 400s are transient; a dead letter there is a lost record."""
    failing = Failing(client, lambda entries: [entries[0], failure])
    delivered = deliver(failing, single(patient("P1"), patient("P2")))
    assert {each.verdict for each in delivered} == {Verdict.WRITTEN}
    assert stored(client, "P1", "P2") == {"P1": ["Doe"], "P2": ["Doe"]}


def test_entries_throttled_inside_an_http_200_are_sent_again(
    client: MedplumClient, sandbox: Sandbox
) -> None:
    """Contract §8: a batch answers 200 though its last entries say 429."""
    keys = [f"P{n}" for n in range(20)]
    assert client.count("Patient") == 0
    sandbox.change(quota_per_minute=1_000)
    delivered = deliver(client, single(*(patient(key) for key in keys)))
    assert {each.verdict for each in delivered} == {Verdict.WRITTEN}
    assert stored(client, *keys) == {key: ["Doe"] for key in keys}
    assert client.pacer.waited_seconds > 0


@pytest.mark.parametrize("silent", ["id", "meta"])
def test_a_success_that_does_not_name_the_resource_and_its_version_is_no_proof(
    client: MedplumClient, silent: str
) -> None:
    def forget(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        del entries[0]["resource"][silent]
        entries[0]["response"].pop("location", None)
        return entries

    (written,) = deliver(Failing(client, forget), single(patient("P1")), exclusive=True)
    (answer,) = written.answers
    assert written.verdict is Verdict.WRITTEN
    assert answer.fhir_id
    assert answer.version_id
    assert stored(client, "P1") == {"P1": ["Doe"]}


def test_deleting_what_medplum_never_had_is_done(client: MedplumClient) -> None:
    """An expunged resource answers 404, for ever: its row would never be settled."""
    gone = Member("Patient", PATIENTS, "P1", None, "00000000-0000-4000-8000-000000000000")
    assert events(deliver(client, single(gone))) == ["deleted"]


def test_the_deadline_leaves_units_open_instead_of_losing_them(client: MedplumClient) -> None:
    failing = Failing(client, *[Transient("not now")] * 3)
    delivered = deliver(failing, single(patient("P1")), seconds=-1.0)
    assert [each.verdict for each in delivered] == [Verdict.OPEN]


def test_a_known_resource_is_changed_in_place(client: MedplumClient) -> None:
    (first,) = deliver(client, single(patient("P1")))[0].answers
    known = patient("P1", "Smith", fhir_id=first.fhir_id, version_id=first.version_id)
    assert events(deliver(client, single(known))) == ["changed"]
    assert stored(client, "P1") == {"P1": ["Smith"]}


def test_an_edit_made_in_medplum_is_never_overwritten_unseen(client: MedplumClient) -> None:
    (first,) = deliver(client, single(patient("P1")))[0].answers
    known = {"fhir_id": first.fhir_id, "version_id": first.version_id}
    deliver(client, single(patient("P1", "Edited", **known)))
    (held,) = deliver(client, single(patient("P1", "Legacy", **known)))
    assert (held.verdict, held.reason) == (Verdict.HELD, "edited-in-medplum")
    assert stored(client, "P1") == {"P1": ["Edited"]}


def test_our_own_write_of_a_run_that_died_is_not_taken_for_somebody_elses_edit(
    client: MedplumClient,
) -> None:
    """The next run still holds the version from before; Medplum holds what it wants to write."""
    (first,) = deliver(client, single(patient("P1")))[0].answers
    known = {"fhir_id": first.fhir_id, "version_id": first.version_id}
    deliver(client, single(patient("P1", "Smith", **known)))
    (again,) = deliver(client, single(patient("P1", "Smith", **known)))
    assert (again.verdict, again.answers[0].event) == (Verdict.WRITTEN, "confirmed")


def test_two_resources_with_one_identifier_are_held_for_a_person(client: MedplumClient) -> None:
    """Writing either would be a guess; both ids are for a person to look at."""
    body = b'{"resourceType":"Bundle","type":"batch","entry":[%s,%s]}'
    entry = (
        b'{"request":{"method":"POST","url":"Patient"},"resource":{"resourceType":"Patient",'
        b'"identifier":[{"system":"%s","value":"P1"}]}}' % PATIENTS.encode()
    )
    client.post_bundle(body % (entry, entry), 2)
    (held,) = deliver(client, single(patient("P1")))
    assert (held.verdict, held.reason) == (Verdict.HELD, "duplicate-in-medplum")


def test_a_poison_record_is_refused_alone(client: MedplumClient) -> None:
    poison = of_type("Patient", "P2", gender=["not", "a", "code"])
    good, bad = deliver(client, single(patient("P1"), poison))
    assert good.verdict is Verdict.WRITTEN
    assert bad.verdict is Verdict.REFUSED
    assert bad.reason == "medplum-400-structure"
    assert bad.field == "Patient.gender"


def test_a_group_is_written_whole_and_refers_to_itself(client: MedplumClient) -> None:
    (who,) = deliver(client, single(patient("P1")))[0].answers
    (written,) = deliver(client, [group("E1", f"Patient/{who.fhir_id}")])
    assert [each.event for each in written.answers] == ["created", "created"]
    (note,) = client.search("ClinicalImpression", {})
    assert note["encounter"]["reference"] == f"Encounter/{written.answers[0].fhir_id}"
    assert events(deliver(client, [group("E1", f"Patient/{who.fhir_id}")])) == ["unchanged"] * 2


def test_half_a_group_is_never_left_behind(client: MedplumClient) -> None:
    encounter, note = group("E1", "Patient/x").members
    assert note.body is not None
    broken = Member(note.resource_type, note.system, note.value, {**note.body, "summary": 7})
    (refused,) = deliver(client, [Submission(1, (encounter, broken))])
    assert refused.verdict is Verdict.REFUSED
    assert client.count("Encounter") == 0


def test_a_group_whose_answer_got_lost_is_adopted_whole(client: MedplumClient) -> None:
    failing = Failing(client, Ambiguous("the connection was reset"))
    (written,) = deliver(failing, [group("E1", "Patient/x")], exclusive=True)
    assert written.verdict is Verdict.WRITTEN
    assert client.count("Encounter") == client.count("ClinicalImpression") == 1


def test_a_deleted_row_takes_its_resource_along_and_may_do_so_again(client: MedplumClient) -> None:
    (first,) = deliver(client, single(patient("P1")))[0].answers
    gone = Member("Patient", PATIENTS, "P1", None, first.fhir_id)
    assert events(deliver(client, single(gone))) == ["deleted"]
    assert stored(client, "P1") == {"P1": []}
    never_written = Member("Patient", PATIENTS, "P2", None)
    assert deliver(client, single(never_written))[0].verdict is Verdict.WRITTEN


def test_a_resource_too_large_for_medplum_is_held_and_says_so(client: MedplumClient) -> None:
    """Contract §6: the server answers 400 `File too large`, and the bundle's others are lost."""
    held, written = deliver(client, single(patient("P1", "x" * 1_000_000), patient("P2")))
    assert (held.verdict, held.reason) == (Verdict.HELD, "resource-too-large")
    assert written.verdict is Verdict.WRITTEN


def test_references_within_a_submission_become_urns_and_others_are_left(
    client: MedplumClient,
) -> None:
    """A reference the pipeline did not resolve goes out conditionally, and Medplum refuses it."""
    child = of_type("Organization", "O2", name="x", partOf=reference("Organization", "O1"))
    (refused,) = deliver(client, single(child))
    assert refused.verdict is Verdict.REFUSED
    deliver(client, single(of_type("Organization", "O1", name="y")))
    (written,) = deliver(client, single(child))
    assert written.verdict is Verdict.WRITTEN


def test_a_bundle_refused_whole_loses_only_the_record_that_is_to_blame(
    client: MedplumClient,
) -> None:
    """A firewall or a parser that says 400 to all of it must not stop the other 40."""

    class Fussy(Failing):
        def post_bundle(self, body: bytes, entries: int) -> list[dict[str, Any]]:
            if b"POISON" in body:
                raise Unacceptable("400")
            return super().post_bundle(body, entries)

    keys = [f"P{n}" for n in range(40)]
    members = [patient(key, "POISON" if key == "P17" else "Doe") for key in keys]
    delivered = deliver(Fussy(client), single(*members))
    refused = [each for each in delivered if each.verdict is not Verdict.WRITTEN]
    assert [each.reason for each in refused] == ["refused-whole"]
    assert refused[0].submission.members[0].value == "P17"
    assert len(delivered) == 40
    assert sum(len(each) for each in stored(client, *keys).values()) == 39
