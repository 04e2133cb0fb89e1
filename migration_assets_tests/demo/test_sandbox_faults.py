"""The sandbox misbehaves when it is asked to, just as the measured server, proxies and lines do."""

import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest

from migration_assets.demo import medplum_sandbox
from migration_assets.demo.faults import Fault, Wrong
from migration_assets.demo.medplum_sandbox import Sandbox, SandboxOptions
from migration_assets.errors import Permanent
from migration_assets_tests.demo.replay import Answer, Replay, ask, bundle, patient, put, send

pytestmark = pytest.mark.sandbox

OPTIONS = SandboxOptions(
    client_id="4d1c5a1e-0000-4000-8000-00000000c11e",
    client_secret="a-secret-of-the-tests",
    quota_per_minute=1_000_000_000,
)


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    with medplum_sandbox.launch(OPTIONS, None, medplum_sandbox.install_packages()) as running:
        yield running


@pytest.fixture
def sandbox(shared: Sandbox) -> Sandbox:
    shared.behave()
    shared.settle()
    shared.reset()
    shared.change(quota_per_minute=OPTIONS.quota_per_minute)
    return shared


def entries(answer: Answer) -> list[tuple[str, str]]:
    """Status and text of each entry."""
    assert answer.status == 200
    return [told(each["response"]) for each in json.loads(answer.text)["entry"]]


def told(response: dict[str, Any]) -> tuple[str, str]:
    outcome = response["outcome"]
    return response["status"], outcome["issue"][0]["details"]["text"]


def patients(sandbox: Sandbox) -> int:
    count: int = sandbox.stats()["resources"].get("Patient", 0)
    return count


def create(value: str) -> dict[str, Any]:
    return {"request": {"method": "POST", "url": "Patient"}, "resource": patient(value)}


def transaction(*inner: dict[str, Any]) -> dict[str, Any]:
    """An entry that is a transaction of its own."""
    resource = {"resourceType": "Bundle", "type": "transaction", "entry": list(inner)}
    return {"request": {"method": "POST", "url": "/"}, "resource": resource}


def test_nothing_goes_wrong_unasked(sandbox: Sandbox) -> None:
    assert bundle(sandbox, "batch", put("1"), put("2")).status == 200
    assert sandbox.stats()["faults"] == {}


def test_a_conflict_has_the_recorded_shape_and_writes_nothing(sandbox: Sandbox) -> None:
    sandbox.misbehave(Fault(Wrong.CONFLICT, at=(2,)))
    answer = json.loads(bundle(sandbox, "batch", put("1"), put("2"), put("3")).text)
    text = "could not serialize access due to read/write dependencies among transactions"
    issue = {
        "severity": "error",
        "code": "conflict",
        "details": {"coding": [{"code": "40001"}], "text": text},
    }
    outcome = {"resourceType": "OperationOutcome", "id": "conflict", "issue": [issue]}
    statuses = [each["response"]["status"] for each in answer["entry"]]
    assert statuses == ["201", "409", "201"]
    assert answer["entry"][1] == {"response": {"outcome": outcome, "status": "409"}}
    assert patients(sandbox) == 2
    assert sandbox.stats()["faults"] == {"conflict": 1}


def test_a_single_write_and_a_transaction_conflict_as_a_whole(sandbox: Sandbox) -> None:
    sandbox.misbehave(Fault(Wrong.CONFLICT, at=(1, 3)))
    assert ask(sandbox, "PUT", "Patient?identifier=urn:t|1", patient("1")).status == 409
    assert bundle(sandbox, "transaction", put("1"), put("2")).status == 409
    assert patients(sandbox) == 0


def test_a_nested_transaction_conflicts_as_one_entry(sandbox: Sandbox) -> None:
    sandbox.misbehave(Fault(Wrong.CONFLICT, at=(1,)))
    answer = bundle(sandbox, "batch", transaction(put("1"), put("2")), put("3"))
    statuses = [each["response"]["status"] for each in json.loads(answer.text)["entry"]]
    assert statuses == ["409", "201"]
    assert patients(sandbox) == 1


def test_a_lost_race_was_won_by_somebody(sandbox: Sandbox) -> None:
    """Contract §3: the resource is there, and our entry is answered with a 400."""
    sandbox.misbehave(Fault(Wrong.LOST_RACE))
    answer = bundle(sandbox, "batch", put("1"))
    assert entries(answer) == [("400", "Resource ID did not match resolved ID")]
    outcome = json.loads(answer.text)["entry"][0]["response"]["outcome"]
    assert outcome["issue"][0]["expression"] == ["Patient.id"]
    assert patients(sandbox) == 1
    assert entries(bundle(sandbox, "batch", put("1"))) == [("200", "All OK")]


def test_an_assigned_id_in_use_is_a_transactions_and_writes_nothing(sandbox: Sandbox) -> None:
    sandbox.misbehave(Fault(Wrong.ASSIGNED_ID_TAKEN))
    answer = bundle(sandbox, "batch", transaction(put("1"), put("2")), create("3"))
    assert [each[0] for each in entries(answer)] == ["400", "201"]
    assert entries(answer)[0] == ("400", "Assigned ID is already in use")
    assert patients(sandbox) == 1


def test_throttling_begins_in_the_middle_of_a_batch(sandbox: Sandbox) -> None:
    """Contract §8: HTTP 200; what came before is written, the rest is not."""
    sandbox.misbehave(Fault(Wrong.THROTTLED, at=(2,), wait_seconds=7))
    answer = bundle(sandbox, "batch", put("1"), put("2"), put("3"))
    assert [each[0] for each in entries(answer)] == ["201", "429", "429"]
    issue = json.loads(answer.text)["entry"][1]["response"]["outcome"]["issue"][0]
    assert issue["code"] == "throttled"
    diagnostics = json.loads(issue["diagnostics"])
    assert (diagnostics["_remainingPoints"], diagnostics["_msBeforeNext"]) == (0, 7000)
    assert answer.headers["ratelimit"].endswith('"fhirInteractions";r=0;t=7')
    assert patients(sandbox) == 1


def test_a_whole_request_is_throttled_beyond_the_quota(sandbox: Sandbox) -> None:
    sandbox.misbehave(Fault(Wrong.TOO_MANY_REQUESTS, at=(1,), wait_seconds=7))
    answer = bundle(sandbox, "batch", put("1"))
    assert answer.status == 429
    issue = json.loads(answer.text)["issue"][0]
    assert issue["details"]["text"] == "Too Many Requests"
    assert json.loads(issue["diagnostics"])["_msBeforeNext"] == 7000
    assert answer.headers["ratelimit"].endswith('"fhirInteractions";r=0;t=7')
    assert patients(sandbox) == 0
    assert bundle(sandbox, "batch", put("1")).status == 200


@pytest.mark.parametrize(
    ("wrong", "active", "versions"), [(Wrong.OVERTAKEN, True, 2), (Wrong.EDITED, None, 2)]
)
def test_somebody_elses_write_fails_the_precondition(
    sandbox: Sandbox, wrong: Wrong, active: object, versions: int
) -> None:
    made = json.loads(ask(sandbox, "POST", "Patient", patient("1")).text)
    version = f'W/"{made["meta"]["versionId"]}"'
    request = {"method": "PUT", "url": f"Patient/{made['id']}", "ifMatch": version}
    change = {"request": request, "resource": {**patient("1", active=True), "id": made["id"]}}
    sandbox.misbehave(Fault(wrong))
    assert entries(bundle(sandbox, "batch", change)) == [("412", "Precondition Failed")]
    now = json.loads(ask(sandbox, "GET", f"Patient/{made['id']}").text)
    assert now.get("active") == active
    assert sandbox.stats()["versions"] == versions


@pytest.mark.parametrize(
    ("wrong", "status"), [(Wrong.WRITE_FAILED, "500"), (Wrong.WRITE_TIMED_OUT, "504")]
)
def test_an_entry_fails_on_its_own(sandbox: Sandbox, wrong: Wrong, status: str) -> None:
    sandbox.misbehave(Fault(wrong, at=(1,)))
    answer = bundle(sandbox, "batch", put("1"), put("2"))
    assert [each[0] for each in entries(answer)] == [status, "201"]
    assert patients(sandbox) == 1


@pytest.mark.parametrize("after_work", [False, True])
@pytest.mark.parametrize(
    ("wrong", "status", "kind"),
    [
        (Wrong.STATUS_500, 500, "application/fhir+json; charset=utf-8"),
        (Wrong.STATUS_502, 502, "text/html"),
        (Wrong.STATUS_503, 503, "text/html"),
        (Wrong.STATUS_504, 504, "application/fhir+json; charset=utf-8"),
    ],
)
def test_a_server_error_says_nothing_of_what_was_done(
    sandbox: Sandbox, wrong: Wrong, status: int, kind: str, after_work: bool
) -> None:
    sandbox.misbehave(Fault(wrong, after_work=after_work))
    answer = bundle(sandbox, "batch", put("1"))
    assert (answer.status, answer.headers["content-type"]) == (status, kind)
    assert patients(sandbox) == int(after_work)


@pytest.mark.parametrize(
    ("wrong", "error", "written"),
    [
        (Wrong.RESET, ConnectionResetError, 0),
        (Wrong.DROP, http.client.RemoteDisconnected, 2),
        (Wrong.TRUNCATE, http.client.IncompleteRead, 2),
    ],
)
def test_a_broken_line_leaves_the_work_done_or_not(
    sandbox: Sandbox, wrong: Wrong, error: type[Exception], written: int
) -> None:
    sandbox.misbehave(Fault(wrong))
    with pytest.raises(error) as caught:
        bundle(sandbox, "batch", put("1"), put("2"))
    assert type(caught.value) is error
    assert patients(sandbox) == written
    assert sandbox.stats()["faults"] == {wrong: 1}


def test_an_answer_lacks_an_entry_that_was_carried_out(sandbox: Sandbox) -> None:
    sandbox.misbehave(Fault(Wrong.FEWER_ENTRIES))
    assert len(entries(bundle(sandbox, "batch", put("1"), put("2")))) == 1
    assert patients(sandbox) == 2


def test_a_late_request_is_carried_out_after_its_client_gave_up(sandbox: Sandbox) -> None:
    """Contract §3: the server finishes it anyway."""
    sandbox.misbehave(Fault(Wrong.LATE))
    with Replay(sandbox) as replay:
        replay.connection.timeout = 0.2
        body = {"resourceType": "Bundle", "type": "batch", "entry": [put("1")]}
        replay.connection.close()  # reopened with the short time-out
        with pytest.raises(TimeoutError):
            replay.send({"request": {"method": "POST", "path": "fhir/R4/", "body": body}})
        assert patients(sandbox) == 0
    sandbox.settle()
    assert patients(sandbox) == 1


def test_a_token_expires_once_it_has_been_used(sandbox: Sandbox) -> None:
    """A fresh one is never refused: that would be a wrong credential."""
    sandbox.misbehave(Fault(Wrong.EXPIRE))
    step = {"request": {"method": "GET", "path": "fhir/R4/Patient?_count=1"}}
    with Replay(sandbox) as replay:
        assert replay.send(step).status == 200
        expired = replay.send(step)
        sandbox.behave()
        assert (expired.status, replay.send(step).status) == (401, 401)
    assert json.loads(expired.text)["issue"][0]["details"]["text"] == "Unauthorized"
    assert ask(sandbox, "GET", "Patient?_count=1").status == 200


def test_a_seed_repeats_its_faults(sandbox: Sandbox) -> None:
    def play(seed: int) -> list[str]:
        sandbox.reset()
        sandbox.misbehave(Fault(Wrong.CONFLICT, 0.3), Fault(Wrong.WRITE_FAILED, 0.3), seed=seed)
        answer = bundle(sandbox, "batch", *(put(f"{number}") for number in range(60)))
        return [each[0] for each in entries(answer)]

    first = play(1)
    assert set(first) == {"201", "409", "500"}
    assert play(1) == first
    assert play(2) != first


def test_faults_of_bundles_spare_searches_and_of_searches_bundles(sandbox: Sandbox) -> None:
    form = {"method": "POST", "path": "fhir/R4/Patient/_search", "form": {"_count": "1"}}
    sandbox.misbehave(Fault(Wrong.STATUS_503, on="bundles"))
    assert send(sandbox, form).status == 200
    assert bundle(sandbox, "batch", put("1")).status == 503
    sandbox.misbehave(Fault(Wrong.STATUS_503, on="searches"))
    assert send(sandbox, form).status == ask(sandbox, "GET", "Patient").status == 503
    assert bundle(sandbox, "batch", put("1")).status == 200


@pytest.mark.parametrize("header", ["status-503", json.dumps(Fault(Wrong.STATUS_503).as_json())])
def test_a_header_asks_for_one_requests_fault(sandbox: Sandbox, header: str) -> None:
    request = {"method": "GET", "path": "fhir/R4/Patient?_count=1"}
    asking = request | {"headers": {"X-Sandbox-Fault": header}}
    assert send(sandbox, asking).status == 503
    assert send(sandbox, request).status == 200
    assert sandbox.stats()["faults"] == {"status-503": 1}


def test_an_unusable_fault_is_refused_instead_of_never_given(sandbox: Sandbox) -> None:
    with pytest.raises(Permanent, match="rate"):
        sandbox.misbehave(Fault(Wrong.DROP, rate=7))
    for header in ("{", "dorp", '{"fault":"drop","at":[0]}'):
        request = {"method": "GET", "path": "fhir/R4/Patient"}
        assert send(sandbox, request | {"headers": {"X-Sandbox-Fault": header}}).status == 400


def test_faults_end_and_stay_counted(sandbox: Sandbox) -> None:
    sandbox.misbehave(Fault(Wrong.STATUS_503))
    assert bundle(sandbox, "batch", put("1")).status == 503
    sandbox.behave()
    assert bundle(sandbox, "batch", put("1")).status == 200
    assert sandbox.stats()["faults"] == {"status-503": 1}
