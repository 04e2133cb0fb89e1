"""Batches as jobs, as the real server was seen to run them (contract §9)."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from migration_assets.demo import medplum_sandbox
from migration_assets.demo.medplum_sandbox import Sandbox, SandboxOptions
from migration_assets_tests.demo.replay import Answer, ask, patient, put, send

pytestmark = pytest.mark.sandbox

OPTIONS = SandboxOptions(
    client_id="4d1c5a1e-0000-4000-8000-00000000c11e", client_secret="a-secret-of-the-tests"
)


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    with medplum_sandbox.launch(OPTIONS, None, medplum_sandbox.install_packages()) as running:
        yield running


@pytest.fixture
def sandbox(shared: Sandbox) -> Sandbox:
    shared.reset()
    shared.change(quota_per_minute=1_000_000, transactions=True)
    return shared


def hand_in(sandbox: Sandbox, body: object, prefer: str = "respond-async") -> Answer:
    """A batch as a job."""
    headers = {"Prefer": prefer}
    return send(sandbox, {"method": "POST", "path": "fhir/R4", "headers": headers, "body": body})


def batch(*entries: dict[str, Any], kind: str = "batch") -> dict[str, Any]:
    """A bundle of entries."""
    return {"resourceType": "Bundle", "type": kind, "entry": list(entries)}


def job_of(sandbox: Sandbox, answer: Answer) -> dict[str, Any]:
    """The job that was handed in, once it has ended."""
    assert answer.status == 202
    sandbox.settle()
    place = answer.headers["content-location"].removeprefix(f"{sandbox.base_url}fhir/R4/")
    ended = ask(sandbox, "GET", place)
    assert ended.status == 200
    job: dict[str, Any] = json.loads(ended.text)
    return job


def result_of(sandbox: Sandbox, job: dict[str, Any], accept: str = "*/*") -> Any:
    """What a completed job points to."""
    (results,) = job["output"]["parameter"]
    path = f"fhir/R4/{results['valueReference']['reference']}"
    return json.loads(
        send(sandbox, {"method": "GET", "path": path, "headers": {"Accept": accept}}).text
    )


def test_a_batch_is_taken_carried_out_and_answered_as_a_binary(sandbox: Sandbox) -> None:
    answer = hand_in(sandbox, batch(put("1"), {"request": {"method": "HEAD", "url": "Patient"}}))
    told = json.loads(answer.text)
    assert told["id"] == "accepted"
    assert told["issue"][0]["diagnostics"] == answer.headers["content-location"]
    job = job_of(sandbox, answer)
    assert (job["resourceType"], job["status"]) == ("AsyncJob", "completed")
    result = result_of(sandbox, job)
    assert result["type"] == "batch-response"
    assert [each["response"]["status"] for each in result["entry"]] == ["201", "404"]
    assert result_of(sandbox, job, "application/fhir+json").keys() == {
        "resourceType",
        "id",
        "contentType",
        "meta",
    }


def test_a_second_preference_has_the_batch_run_at_once(sandbox: Sandbox) -> None:
    answer = hand_in(sandbox, batch(put("1")), prefer="respond-async, x")
    assert answer.status == 200
    assert json.loads(answer.text)["entry"][0]["response"]["status"] == "201"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (batch(), "Missing bundle entries"),
        (batch(kind="collection"), "Unrecognized bundle type: collection"),
    ],
)
def test_a_job_fails_beside_http_200(sandbox: Sandbox, body: object, text: str) -> None:
    job = job_of(sandbox, hand_in(sandbox, body))
    (outcome,) = job["output"]["parameter"]
    assert (job["status"], outcome["name"]) == ("error", "outcome")
    assert outcome["resource"]["issue"][0]["details"]["text"] == text


def test_transactions_are_refused_as_jobs_and_torn_apart_inside_one(sandbox: Sandbox) -> None:
    refused = hand_in(sandbox, batch(put("1"), kind="transaction"))
    assert refused.status == 400
    broken = {"request": {"method": "POST", "url": "Patient"}, "resource": patient("2", gender=7)}
    inner = {
        "request": {"method": "POST", "url": "/"},
        "resource": batch(put("1"), broken, kind="transaction"),
    }
    result = result_of(sandbox, job_of(sandbox, hand_in(sandbox, batch(inner))))
    statuses = [each["response"]["status"] for each in result["entry"][0]["resource"]["entry"]]
    assert statuses == ["201", "400"]
    assert sandbox.stats()["resources"]["Patient"] == 1


def test_a_job_takes_what_is_too_large_for_a_request(sandbox: Sandbox) -> None:
    large = [put(str(n), text={"status": "generated", "div": "y" * 30_000}) for n in range(60)]
    job = job_of(sandbox, hand_in(sandbox, batch(*large)))
    assert len(result_of(sandbox, job)["entry"]) == 60


def test_a_job_goes_on_where_the_quota_is_spent_and_looking_at_it_does_not(
    sandbox: Sandbox,
) -> None:
    sandbox.change(quota_per_minute=500)
    answer = hand_in(sandbox, batch(*(put(str(n)) for n in range(14))))
    sandbox.settle()
    place = answer.headers["content-location"].removeprefix(f"{sandbox.base_url}fhir/R4/")
    assert ask(sandbox, "GET", place).status == 429
    sandbox.refill()
    result = result_of(sandbox, json.loads(ask(sandbox, "GET", place).text))
    assert {each["response"]["status"] for each in result["entry"]} == {"201"}


def test_a_cancelled_job_runs_to_its_end(sandbox: Sandbox) -> None:
    answer = hand_in(sandbox, batch(put("1")))
    place = answer.headers["content-location"].removeprefix(f"{sandbox.base_url}fhir/R4/")
    assert ask(sandbox, "DELETE", place).status == 202
    assert job_of(sandbox, answer)["status"] == "completed"
    assert sandbox.stats()["resources"]["Patient"] == 1


def test_a_job_nobody_handed_in_is_not_found(sandbox: Sandbox) -> None:
    assert ask(sandbox, "GET", "job/11111111-1111-4111-8111-111111111111/status").status == 404
