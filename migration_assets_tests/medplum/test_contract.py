"""Every way in which Medplum and the line were seen to fail, one by one (contract §2, §3, §4, §8).

Each case: new resources, changed resources and groups are there once, as sent, whatever went wrong.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from migration_assets.demo.faults import Fault, Wrong
from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets.errors import MigrationError, Permanent, Transient
from migration_assets.medplum import (
    Ambiguous,
    Deliverer,
    MedplumClient,
    Submission,
    Unacceptable,
    Verdict,
    find_by_identifier,
)
from migration_assets.medplum.wire import Throttled
from migration_assets_tests.medplum.conftest import SECRET
from migration_assets_tests.medplum.scripted_server import Said, Script, scripted_server
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
from migration_assets_tests.medplum.test_faults import (
    assert_there_once_as_sent,
    changed,
    through_faults,
)

sandboxed = pytest.mark.sandbox


@pytest.fixture
def misbehaving(sandbox: Sandbox) -> Iterator[Sandbox]:
    """A sandbox whose faults end with the test."""
    yield sandbox
    sandbox.behave()


# -- each fault alone ----------------------------------------------------------------------------

FAULTS = {
    "409-40001": Fault(Wrong.CONFLICT, at=(2,)),
    "400-resource-id-did-not-match": Fault(Wrong.LOST_RACE, at=(2,)),
    "400-assigned-id-in-use": Fault(Wrong.ASSIGNED_ID_TAKEN, at=(1,)),
    "429-inside-the-bundle": Fault(Wrong.THROTTLED, at=(3,)),
    "429-for-a-nested-transaction": Fault(Wrong.THROTTLED, at=(13,)),
    "429-for-the-whole-request": Fault(Wrong.TOO_MANY_REQUESTS, at=(1,), on="bundles"),
    "429-for-the-look-up": Fault(Wrong.TOO_MANY_REQUESTS, at=(1,), on="searches"),
    "412-our-own-lost-write": Fault(Wrong.OVERTAKEN, at=(1,)),
    "500-of-an-entry": Fault(Wrong.WRITE_FAILED, at=(2,)),
    "504-of-an-entry": Fault(Wrong.WRITE_TIMED_OUT, at=(2,)),
    "500": Fault(Wrong.STATUS_500, at=(1,), on="bundles"),
    "502-by-a-proxy": Fault(Wrong.STATUS_502, at=(1,), on="bundles"),
    "503-by-a-proxy": Fault(Wrong.STATUS_503, at=(1,), on="bundles"),
    "504-and-nothing-done": Fault(Wrong.STATUS_504, at=(1,), on="bundles"),
    "504-and-all-of-it-done": Fault(Wrong.STATUS_504, at=(1,), on="bundles", after_work=True),
    "502-and-all-of-it-done": Fault(Wrong.STATUS_502, at=(1,), on="bundles", after_work=True),
    "connection-reset": Fault(Wrong.RESET, at=(1,), on="bundles"),
    "commit-then-drop": Fault(Wrong.DROP, at=(1,), on="bundles"),
    "truncated-answer": Fault(Wrong.TRUNCATE, at=(1,), on="bundles"),
    "fewer-entries-than-asked": Fault(Wrong.FEWER_ENTRIES, at=(1,), on="bundles"),
    "time-out-after-send": Fault(Wrong.LATE, at=(1,), on="bundles"),
    "token-expired": Fault(Wrong.EXPIRE, at=(1,)),
    "look-up-reset": Fault(Wrong.RESET, at=(1,), on="searches"),
    "look-up-dropped": Fault(Wrong.DROP, at=(1,), on="searches"),
    "look-up-truncated": Fault(Wrong.TRUNCATE, at=(1,), on="searches"),
    "look-up-504": Fault(Wrong.STATUS_504, at=(1,), on="searches"),
}


def clinic() -> list[Submission]:
    """Twelve patients and two groups."""
    members = [(patient(f"P{number}"),) for number in range(12)]
    groups = [group(f"E{number}", "Patient/x").members for number in range(2)]
    return [Submission(unit, each) for unit, each in enumerate([*members, *groups], start=1)]


@sandboxed
@pytest.mark.parametrize("exclusive", [True, False], ids=["exclusive", "shared"])
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_each_resource_is_there_once_as_sent(
    misbehaving: Sandbox, fault: Fault, exclusive: bool
) -> None:
    """Both when everything is new and when everything changes; each with the fault anew."""
    submissions = clinic()
    for change in (False, True):
        misbehaving.misbehave(fault)
        delivered = through_faults(misbehaving, submissions, exclusive=exclusive)
        assert {each.verdict for each in delivered} == {Verdict.WRITTEN}
        misbehaving.behave()
        if not change:
            submissions = changed(delivered)
    if not (exclusive and fault.wrong is Wrong.LOST_RACE):  # only conditional updates lose one
        assert misbehaving.stats()["faults"][fault.wrong] > 0
    assert_there_once_as_sent(misbehaving, [each.submission for each in delivered])


# -- answers that cannot be had from the sandbox -------------------------------------------------


@pytest.fixture
def server() -> Iterator[Script]:
    """A server that answers as it is told."""
    with scripted_server() as script:
        yield script


def client_of(server: Script) -> MedplumClient:
    """A client without real waits."""
    return MedplumClient(
        server.base_url, "id", SecretStr("secret"), sleep=lambda _s: None, timeout=(2.0, 2.0)
    )


def outcome(code: str, text: str) -> dict[str, Any]:
    """An OperationOutcome."""
    issue = {"severity": "error", "code": code, "details": {"text": text}}
    return {"resourceType": "OperationOutcome", "issue": [issue]}


CANARY = "Canary-Smith"


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (Said(409, outcome("conflict", CANARY)), Transient),
        (Said(429, outcome("throttled", CANARY)), Throttled),
        (Said(500, b"<html>" + CANARY.encode()), Ambiguous),
        (Said(502, b"<html>"), Ambiguous),
        (Said(504, outcome("timeout", CANARY)), Ambiguous),
        (Said(408), Ambiguous),
        (Said(200, b'{"entry":[' + CANARY.encode()), Ambiguous),
        (Said(200, {"entry": [{}, {}]}, cut=True), Ambiguous),
        (Said(200, {"entry": [{}]}), Ambiguous),
        (Said(200, {"entry": [{}, {}, {}]}), Ambiguous),
        (Said(200, {"entry": [{}, None]}), Ambiguous),
        (Said(200, {"entry": {}}), Ambiguous),
        (Said(200, ["entry"]), Ambiguous),
        (Said(200), Ambiguous),
        (Said(400, outcome("invalid", f"File too large {CANARY}")), Unacceptable),
        (Said(413, b"<html>"), Unacceptable),
        (Said(403, outcome("forbidden", CANARY)), Permanent),
        (Said(404, b"<html>"), Permanent),
        (Said(301, b"", {"Location": "https://elsewhere.invalid/"}), Permanent),
    ],
    ids=lambda case: f"{case.status}" if isinstance(case, Said) else case.__name__,
)
def test_what_a_whole_answer_means_is_decided_by_what_may_have_been_done(
    server: Script, said: Said, error: type[MigrationError]
) -> None:
    """Ambiguous where something may have been written: it is looked for before it is sent again."""
    server.say("/fhir/R4", said)
    with pytest.raises(error) as caught:
        client_of(server).post_bundle(b"{}", 2)
    assert type(caught.value) is error
    assert CANARY not in str(caught.value)
    assert len(server.at("/fhir/R4")) == 1


def test_a_redirect_takes_neither_the_credential_nor_the_records_along(server: Script) -> None:
    with scripted_server() as elsewhere:
        server.say("/fhir/R4", Said(307, b"", {"Location": f"{elsewhere.base_url}fhir/R4"}))
        with pytest.raises(Permanent, match="redirect"):
            client_of(server).post_bundle(b"{}", 1)
        assert elsewhere.asked == []


def stored(client: MedplumClient, *keys: str) -> dict[str, list[str]]:
    """Family names in Medplum per key."""
    found = find_by_identifier(client, "Patient", [(PATIENTS, key) for key in keys])
    return {key: [each["name"][0]["family"] for each in found[PATIENTS, key]] for key in keys}


# -- work that is done later than anybody waits --------------------------------------------------


class Lagging(Failing):
    """Takes the first bundle, answers nothing, and carries it out when the test says so."""

    def __init__(self, client: MedplumClient) -> None:
        super().__init__(client)
        self.taken: list[tuple[bytes, int]] = []

    def post_bundle(self, body: bytes, entries: int) -> list[dict[str, Any]]:
        """The first one is taken only."""
        self.bundles += 1
        if self.bundles == 1:
            self.taken.append((body, entries))
            raise Ambiguous("timed out")
        self.catch_up()  # at the latest: the server got it first
        return self._client.post_bundle(body, entries)

    def catch_up(self) -> None:
        """Carry out what was taken."""
        while self.taken:
            self._client.post_bundle(*self.taken.pop())


@sandboxed
def test_nothing_is_sent_again_before_searches_stand_still(client: MedplumClient) -> None:
    """The first look finds nothing yet; a plain create sent then would be a second record."""
    lagging, naps = Lagging(client), list[float]()

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 2:
            lagging.catch_up()

    deliverer = Deliverer(lagging, exclusive=True, deadline_seconds=60.0, sleep=sleep)
    told = [each for done in deliverer.deliver(single(patient("P1"))) for each in done]
    assert events(told) == ["unchanged"]  # found, and written to where it is
    assert stored(client, "P1") == {"P1": ["Doe"]}


@sandboxed
def test_what_is_sent_again_after_that_is_still_conditional(client: MedplumClient) -> None:
    """A server slower than any wait carries the first out when the second arrives."""
    (written,) = deliver(Lagging(client), single(patient("P1")), exclusive=True)
    assert written.verdict is Verdict.WRITTEN
    assert stored(client, "P1") == {"P1": ["Doe"]}


# -- answers to an entry -------------------------------------------------------------------------


@sandboxed
@pytest.mark.parametrize("exclusive", [True, False])
def test_a_success_that_names_another_resource_is_no_proof(
    client: MedplumClient, exclusive: bool
) -> None:
    (first,) = deliver(client, single(patient("P1")))[0].answers

    def mix_up(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        entries[0]["resource"]["id"] = "00000000-0000-4000-8000-000000000000"
        return entries

    known = patient("P1", "Smith", fhir_id=first.fhir_id, version_id=first.version_id)
    (written,) = deliver(Failing(client, mix_up), single(known), exclusive=exclusive)
    assert written.verdict is Verdict.WRITTEN
    assert {each.fhir_id for each in written.answers} == {first.fhir_id}
    assert stored(client, "P1") == {"P1": ["Smith"]}


@sandboxed
@pytest.mark.parametrize("exclusive", [True, False])
def test_a_group_answered_with_fewer_members_than_it_has_is_looked_for(
    client: MedplumClient, exclusive: bool
) -> None:
    def drop(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        entries[0]["resource"]["entry"].pop()
        return entries

    failing = Failing(client, drop)
    (written,) = deliver(failing, [group("E1", "Patient/x")], exclusive=exclusive)
    assert written.verdict is Verdict.WRITTEN
    assert len({each.fhir_id for each in written.answers}) == 2
    assert client.count("Encounter") == client.count("ClinicalImpression") == 1


@sandboxed
def test_a_rollback_is_believed_only_after_a_search(client: MedplumClient) -> None:
    """A transaction that was none has left its members behind: they must not be forgotten."""
    refusal = answered("400", "Invalid", "structure")
    (honest,) = deliver(Failing(client, lambda _entries: [refusal]), [group("E1", "Patient/x")])
    assert honest.verdict is Verdict.REFUSED
    left = [each for each in honest.answers if each.event == "left-behind"]
    (encounter,), (note,) = client.search("Encounter", {}), client.search("ClinicalImpression", {})
    assert [each.fhir_id for each in left] == [encounter["id"], note["id"]]
    assert [each.fhir_id for each in honest.submission.members] == [encounter["id"], note["id"]]


@sandboxed
def test_a_rollback_that_was_one_leaves_nothing_to_name(client: MedplumClient) -> None:
    """And the groups of a bundle are looked for together."""
    broken = [
        Submission(n, (first, replace(second, body={**(second.body or {}), "summary": 7})))
        for n, (first, second) in enumerate(group(f"E{n}", "Patient/x").members for n in range(9))
    ]
    before = client.requests_made
    ended = deliver(client, broken)
    assert {each.verdict for each in ended} == {Verdict.REFUSED}
    assert {answer.event for each in ended for answer in each.answers} == {"failed"}
    assert client.requests_made - before == 2 + 1 + 1 + 2  # look, preflight, bundle, look


@sandboxed
@pytest.mark.parametrize(
    "final",
    [
        answered("400", "Invalid", "structure"),
        answered("403", "Forbidden", "forbidden"),
        answered("422", "Resource cap exceeded", "business-rule"),
    ],
    ids=["400", "403", "422"],
)
def test_a_final_refusal_is_not_tried_again(client: MedplumClient, final: dict[str, Any]) -> None:
    failing = Failing(client, lambda _entries: [final])
    (ended,) = deliver(failing, single(patient("P1")))
    assert ended.verdict is Verdict.REFUSED
    assert failing.bundles == 1


@sandboxed
def test_a_whole_bundle_with_old_versions_is_looked_at_once(client: MedplumClient) -> None:
    """A run that died after the answer: a look for each would cost 20 points a resource."""
    first = deliver(client, single(*(patient(f"P{n}") for n in range(100))))
    again = changed(first)
    deliver(client, again)
    before = client.requests_made
    told = deliver(client, again)
    assert set(events(told)) == {"confirmed"}
    assert client.requests_made - before == 2


@pytest.mark.parametrize(
    "fault", [Transient("no connection"), Transient("no token", retry_after=42.0)], ids=str
)
@sandboxed
def test_what_is_not_the_quotas_fault_does_not_spend_the_window(
    client: MedplumClient, fault: Transient
) -> None:
    """Whoever shares the client's quota would wait for the window's end with us."""
    slept: list[float] = []
    deliverer = Deliverer(
        Failing(client, fault), exclusive=True, deadline_seconds=60.0, sleep=slept.append
    )
    assert sum(len(each) for each in deliverer.deliver(single(patient("P1")))) == 1
    assert client.pacer.waited_seconds == 0
    assert sum(slept) >= (fault.retry_after or 0.1)


@sandboxed
@pytest.mark.parametrize("exclusive", [True, False])
def test_one_identifier_twice_in_a_delivery_is_written_once(
    client: MedplumClient, exclusive: bool
) -> None:
    """Contract §4: the second change is lost; as plain creates they would even be two."""
    first, second = deliver(
        client, single(patient("P1"), patient("P1", "Smith")), exclusive=exclusive
    )
    ends = {(each.verdict, each.reason) for each in (first, second)}
    assert ends == {(Verdict.WRITTEN, None), (Verdict.HELD, "identifier-collision")}
    assert stored(client, "P1") == {"P1": ["Doe"]}


@sandboxed
def test_a_target_carried_twice_is_refused_and_nothing_is_written(client: MedplumClient) -> None:
    """Contract §5: a reference that matches several is no duplicate of what refers to it."""
    body = b'{"resourceType":"Bundle","type":"batch","entry":[%s,%s]}'
    entry = (
        b'{"request":{"method":"POST","url":"Patient"},"resource":{"resourceType":"Patient",'
        b'"identifier":[{"system":"%s","value":"P1"}]}}' % PATIENTS.encode()
    )
    client.post_bundle(body % (entry, entry), 2)
    target = {"reference": f"Patient?identifier={PATIENTS}|P1"}
    seen = of_type("Observation", "O1", status="final", code={"text": "x"}, subject=target)
    (refused,) = deliver(client, single(seen))
    assert (refused.verdict, refused.field) == (Verdict.REFUSED, "Observation.subject")
    assert client.count("Observation") == 0


# -- identifiers ---------------------------------------------------------------------------------

KEYS = st.text(
    alphabet=st.sampled_from("abAB01 +%&#?/=;:\"'$*()<>\t|,\\-_.~@![]{}^`éß小🙂\u0301\u202f"),
    min_size=1,
    max_size=12,
).filter(lambda key: key == key.strip())


class Blind(Failing):
    """Finds nothing before it writes: the conditional write has to, by its own URL."""

    def search(self, resource_type: str, params: object) -> list[dict[str, Any]]:
        """Nothing."""
        return []


@sandboxed
@given(keys=st.lists(KEYS | st.sampled_from(["ne5", "gt5", "a" * 3_000]), unique=True, max_size=20))
@settings(max_examples=40)
def test_no_identifier_is_written_twice_or_found_in_anothers_place(
    running_sandbox: Sandbox, keys: list[str]
) -> None:
    """Every character class of contract §2, in the URL of a write and in the form of a search."""
    running_sandbox.reset()
    client = MedplumClient(
        running_sandbox.base_url, running_sandbox.client_id, SecretStr(SECRET), auth="basic"
    )
    submissions = single(*(patient(key, f"F{at}") for at, key in enumerate(keys)))
    assert events(deliver(Blind(client), submissions)) == ["created"] * len(keys)
    told = deliver(Blind(client), submissions)
    assert {each.verdict for each in told} <= {Verdict.WRITTEN}
    assert client.count("Patient") == len(keys)
    assert stored(client, *keys) == {key: [f"F{at}"] for at, key in enumerate(keys)}
    assert events(deliver(client, submissions)) == ["unchanged"] * len(keys)
