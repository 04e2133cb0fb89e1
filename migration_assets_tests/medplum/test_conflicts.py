"""Edits made in Medplum and identifiers carried twice: never written over unseen, always named."""

from dataclasses import replace

import pytest

from migration_assets.demo.faults import Fault, Wrong
from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets.medplum import (
    Authority,
    Delivered,
    Deliverer,
    Manner,
    MedplumClient,
    Member,
    Submission,
    Verdict,
    content_print,
    find_by_identifier,
)
from migration_assets_tests.medplum.submissions import (
    PATIENTS,
    Failing,
    answered,
    deliver,
    group,
    patient,
    single,
)

pytestmark = pytest.mark.sandbox


def delivered(
    client: MedplumClient, submissions: list[Submission], authority: Authority | None
) -> list[Delivered]:
    """Deliver for a type whose truth ``authority`` owns."""
    deliverer = Deliverer(
        client,
        exclusive=False,
        deadline_seconds=60.0,
        sleep=lambda _seconds: None,
        manner=Manner(authority=authority),
    )
    return [each for finished in deliverer.deliver(submissions) for each in finished]


def edited(client: MedplumClient) -> tuple[Member, str]:
    """A patient as the account knows it, and the version that somebody else made of it since."""
    (first,) = deliver(client, single(patient("P1")))[0].answers
    known = patient("P1", "Legacy", fhir_id=first.fhir_id, version_id=first.version_id)
    (since,) = deliver(client, single(replace(known, body=patient("P1", "Edited").body)))[0].answers
    return known, str(since.version_id)


def families(client: MedplumClient) -> list[str]:
    """What Medplum holds for the patient."""
    found = find_by_identifier(client, "Patient", [(PATIENTS, "P1")])
    return [each["name"][0]["family"] for each in found[PATIENTS, "P1"]]


@pytest.mark.parametrize("authority", [None, "medplum"])
def test_an_edit_is_held_with_the_version_we_knew_and_the_one_that_is_there(
    client: MedplumClient, authority: Authority | None
) -> None:
    """Whoever decides must be able to look at both; the content stays where it is."""
    known, theirs = edited(client)
    (held,) = delivered(client, single(known), authority)
    assert (held.verdict, held.reason) == (Verdict.HELD, "edited-in-medplum")
    assert [(each.event, each.version_id) for each in held.answers] == [
        ("failed", known.version_id),
        ("edit-found", theirs),
    ]
    assert families(client) == ["Edited"]


def test_where_the_source_owns_the_truth_an_edit_is_overwritten_and_the_account_says_so(
    client: MedplumClient,
) -> None:
    known, _theirs = edited(client)
    (written,) = delivered(client, single(known), "legacy")
    assert written.verdict is Verdict.WRITTEN
    assert [each.event for each in written.answers] == ["overwrote-edit"]
    assert families(client) == ["Legacy"]


def test_an_edit_made_while_an_edit_is_overwritten_is_seen_too(
    client: MedplumClient, sandbox: Sandbox
) -> None:
    """Each try names the version it read: none is written over that nobody looked at."""
    known, _theirs = edited(client)
    sandbox.misbehave(Fault(Wrong.EDITED, at=(1, 2)))
    try:
        (written,) = delivered(client, single(known), "legacy")
    finally:
        sandbox.behave()
    assert [each.event for each in written.answers] == ["overwrote-edit"]
    assert families(client) == ["Legacy"]
    assert sandbox.stats()["faults"] == {"edited": 2}


@pytest.mark.parametrize("authority", [None, "legacy", "medplum"])
def test_our_own_lost_write_is_no_edit_whoever_owns_the_truth(
    client: MedplumClient, authority: Authority | None
) -> None:
    (first,) = deliver(client, single(patient("P1")))[0].answers
    known = {"fhir_id": first.fhir_id, "version_id": first.version_id}
    lost = patient("P1", "Lost", **known)
    deliver(client, single(lost))
    assert lost.body is not None
    sent = frozenset({content_print(lost.body)})
    (again,) = delivered(client, single(patient("P1", "Later", sent=sent, **known)), authority)
    assert [each.event for each in again.answers] == ["changed"]
    assert families(client) == ["Later"]


def test_one_edited_member_holds_its_whole_group(client: MedplumClient) -> None:
    (written,) = deliver(client, [group("E1", "Patient/x")])
    encounter, note = (
        replace(a.member, fhir_id=a.fhir_id, version_id=a.version_id) for a in written.answers
    )
    edit = replace(note, body={**(note.body or {}), "summary": "edited"})
    (theirs,) = deliver(client, single(edit))[0].answers
    wanted = [replace(m, body={**(m.body or {}), "language": "en"}) for m in (encounter, note)]
    (held,) = deliver(client, [Submission(1, tuple(wanted))])
    assert (held.verdict, held.reason) == (Verdict.HELD, "edited-in-medplum")
    (named,) = [each for each in held.answers if each.event == "edit-found"]
    assert (named.member.resource_type, named.version_id) == (
        "ClinicalImpression",
        theirs.version_id,
    )


def test_where_medplum_owns_the_truth_what_was_edited_is_not_deleted(
    client: MedplumClient,
) -> None:
    """Contract §7: no If-Match guards a DELETE, so it is looked at before."""
    known, theirs = edited(client)
    gone = replace(known, body=None)
    (held,) = delivered(client, single(gone), "medplum")
    assert (held.verdict, held.reason) == (Verdict.HELD, "edited-in-medplum")
    assert [each.version_id for each in held.answers] == [theirs]
    assert families(client) == ["Edited"]
    (deleted,) = delivered(client, single(replace(gone, version_id=theirs)), "medplum")
    assert [each.event for each in deleted.answers] == ["deleted"]
    assert families(client) == []


def doubled(client: MedplumClient) -> set[str]:
    """Two patients with one identifier; their ids."""
    body = b'{"resourceType":"Bundle","type":"batch","entry":[%s,%s]}'
    entry = (
        b'{"request":{"method":"POST","url":"Patient"},"resource":{"resourceType":"Patient",'
        b'"identifier":[{"system":"%s","value":"P1"}]}}' % PATIENTS.encode()
    )
    entries = client.post_bundle(body % (entry, entry), 2)
    return {each["resource"]["id"] for each in entries}


def test_duplicates_found_before_writing_are_named(client: MedplumClient) -> None:
    ids = doubled(client)
    (held,) = deliver(client, single(patient("P1")))
    assert (held.verdict, held.reason) == (Verdict.HELD, "duplicate-in-medplum")
    assert {each.fhir_id for each in held.answers} == ids
    assert {each.event for each in held.answers} == {"duplicate"}


def test_duplicates_that_come_up_on_the_write_are_named(client: MedplumClient) -> None:
    """The refusal does not say which they are; in a bundle it is a 400, not a 412 (contract §6)."""

    class Late(Failing):
        """The second one is created after we looked."""

        ids: set[str] = set()  # noqa: RUF012 - one test's own class

        def post_bundle(self, body: bytes, entries: int) -> list[dict[str, object]]:
            self.ids |= doubled(client)
            return super().post_bundle(body, entries)

    late = Late(client)
    (held,) = deliver(late, single(patient("P1")))
    assert (held.verdict, held.reason) == (Verdict.HELD, "duplicate-in-medplum")
    assert {each.fhir_id for each in held.answers if each.event == "duplicate"} == late.ids


def test_a_refusal_for_duplicates_that_are_gone_again_is_still_a_persons_to_look_at(
    client: MedplumClient,
) -> None:
    many = answered("412", "Multiple resources found matching condition", "multiple-matches")
    (held,) = deliver(Failing(client, lambda _entries: [many]), single(patient("P1")))
    assert (held.verdict, held.reason) == (Verdict.HELD, "duplicate-in-medplum")
