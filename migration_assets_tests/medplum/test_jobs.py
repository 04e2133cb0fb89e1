"""Batches as jobs: the same answers as at once, and nothing doubled when a job gets lost."""

import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from migration_assets.demo.faults import Fault, Wrong
from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets.errors import Permanent, Transient
from migration_assets.medplum import (
    Ambiguous,
    Delivered,
    Deliverer,
    Manner,
    MedplumClient,
    Submission,
    Unacceptable,
    Verdict,
)
from migration_assets.medplum.jobs import JobFailed
from migration_assets_tests.medplum.conftest import SECRET
from migration_assets_tests.medplum.scripted_server import Said, Script, scripted_server
from migration_assets_tests.medplum.submissions import Failing, events, group, patient, single
from migration_assets_tests.medplum.test_faults import assert_there_once_as_sent

JOBS = Manner(via="async_batch")
BODY = b'{"resourceType":"Bundle","type":"batch","entry":[]}'
CREATED = {
    "response": {"status": "201", "location": "Patient/a"},
    "resource": {"id": "a", "meta": {"versionId": "1"}},
}


# -- for real ------------------------------------------------------------------------------------


def through_jobs(
    sandbox: Sandbox,
    submissions: list[Submission],
    *,
    exclusive: bool = True,
    keep: list[Deliverer] | None = None,
) -> list[Delivered]:
    """Deliver by jobs; every wait lets the server finish."""

    def sleep(_seconds: float) -> None:
        sandbox.settle()
        sandbox.refill()

    client = MedplumClient(sandbox.base_url, sandbox.client_id, SecretStr(SECRET), sleep=sleep)
    deliverer = Deliverer(
        client, exclusive=exclusive, deadline_seconds=100.0, sleep=sleep, manner=JOBS
    )
    if keep is not None:
        keep.append(deliverer)
    return [each for finished in deliverer.deliver(submissions) for each in finished]


def many(count: int) -> list[Submission]:
    """New patients."""
    return single(*(patient(f"P{number}") for number in range(count)))


@pytest.fixture
def _well_behaved_again(sandbox: Sandbox) -> Iterator[None]:
    yield
    sandbox.behave()


@pytest.mark.sandbox
def test_a_job_writes_what_a_batch_would_have_written(sandbox: Sandbox) -> None:
    created = through_jobs(sandbox, many(30))
    assert set(events(created)) == {"created"}
    known = [
        Submission(each.submission.unit, each.submission.members).locate(
            {a.member.reference: (str(a.fhir_id), a.version_id) for a in each.answers}
        )
        for each in created
    ]
    assert set(events(through_jobs(sandbox, known))) == {"unchanged"}
    assert_there_once_as_sent(sandbox, known)


@pytest.mark.sandbox
def test_a_job_may_be_larger_than_a_request(sandbox: Sandbox) -> None:
    """Contract §9: 50 MB instead of 1 MiB, which is what jobs are for."""
    kept: list[Deliverer] = []
    large = single(*(patient(f"P{n}", "x" * 20_000) for n in range(100)))
    assert len(through_jobs(sandbox, large, keep=kept)) == 100
    assert kept[0].bundles_sent == 1
    assert kept[0].bytes_sent > 1_500_000


@pytest.mark.sandbox
def test_groups_never_go_into_a_job_which_would_tear_them_apart(sandbox: Sandbox) -> None:
    """Contract §9: nested transactions lose their atomicity there."""
    kept: list[Deliverer] = []
    whole = group("E1", "Patient/x")
    submissions = [*(Submission(n, each.members) for n, each in enumerate(many(20), 2)), whole]
    ended = through_jobs(sandbox, submissions, keep=kept)
    assert {each.verdict for each in ended} == {Verdict.WRITTEN}
    assert kept[0].bundles_sent == 2
    assert kept[0].groups_sent_apart == 0


@pytest.mark.sandbox
@pytest.mark.usefixtures("_well_behaved_again")
@pytest.mark.parametrize("wrong", [Wrong.DROP, Wrong.TRUNCATE, Wrong.STATUS_504, Wrong.RESET])
def test_a_job_whose_handing_in_was_not_answered_doubles_nothing(
    sandbox: Sandbox, wrong: Wrong
) -> None:
    """It may run, or not; it may still be running when the search stands still."""
    sandbox.misbehave(Fault(wrong, at=(1,), on="bundles", after_work=wrong is Wrong.STATUS_504))
    ended = through_jobs(sandbox, many(20))
    assert {each.verdict for each in ended} == {Verdict.WRITTEN}
    assert_there_once_as_sent(sandbox, [each.submission for each in ended])


@pytest.mark.sandbox
@pytest.mark.usefixtures("_well_behaved_again")
def test_an_entry_that_loses_a_race_inside_a_job_is_tried_again(sandbox: Sandbox) -> None:
    sandbox.misbehave(Fault(Wrong.CONFLICT, at=(2,)), Fault(Wrong.LOST_RACE, at=(5,)))
    ended = through_jobs(sandbox, many(20))
    assert {each.verdict for each in ended} == {Verdict.WRITTEN}
    assert sandbox.stats()["faults"] == {"conflict": 1, "lost-race": 1}
    assert_there_once_as_sent(sandbox, [each.submission for each in ended])


@pytest.mark.sandbox
def test_a_run_that_dies_between_handing_in_and_looking_is_completed_by_the_next(
    sandbox: Sandbox,
) -> None:
    """The job may even run after the next run has looked: it creates conditionally."""
    client = MedplumClient(sandbox.base_url, sandbox.client_id, SecretStr(SECRET))
    deliverer = Deliverer(
        _DyingAfterHandingIn(client), exclusive=True, deadline_seconds=100.0, manner=JOBS
    )
    with pytest.raises(KeyboardInterrupt):
        list(deliverer.deliver(many(20)))
    ended = through_jobs(sandbox, many(20))
    assert {each.verdict for each in ended} == {Verdict.WRITTEN}
    assert_there_once_as_sent(sandbox, [each.submission for each in ended])


class _DyingAfterHandingIn(Failing):
    """Dies as soon as the job is handed in."""

    def run_job(
        self, body: bytes, entries: int, *, keep_waiting: Callable[[], bool]
    ) -> list[dict[str, Any]]:
        """Hand it in, and look no further."""
        assert keep_waiting()

        def die() -> bool:
            raise KeyboardInterrupt

        return self._client.run_job(body, entries, keep_waiting=die)


@pytest.mark.sandbox
def test_what_goes_in_by_a_job_is_created_conditionally_by_the_only_writer_too(
    sandbox: Sandbox,
) -> None:
    """A plain POST that waits in a job would double what the next run creates."""
    sent: list[bytes] = []

    class Reading(MedplumClient):
        """Keeps what is handed in."""

        def run_job(
            self, body: bytes, entries: int, *, keep_waiting: Callable[[], bool]
        ) -> list[dict[str, Any]]:
            sent.append(body)
            return super().run_job(body, entries, keep_waiting=keep_waiting)

    client = Reading(sandbox.base_url, sandbox.client_id, SecretStr(SECRET))
    deliverer = Deliverer(client, exclusive=True, deadline_seconds=100.0, manner=JOBS)
    assert sum(len(each) for each in deliverer.deliver(many(3))) == 3
    (body,) = sent
    assert {each["request"]["method"] for each in orjson.loads(body)["entry"]} == {"PUT"}


# -- answers a job may get -----------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[Script]:
    """A server that takes a batch as job j-1."""
    with scripted_server() as script:
        place = "https://elsewhere.invalid/fhir/R4/job/j-1/status"
        script.say("/fhir/R4", Said(202, {}, {"Content-Location": place}))
        script.say("/fhir/R4/Binary/b-1", Said(200, {"entry": [CREATED]}))
        yield script


def client_of(server: Script, slept: list[float] | None = None) -> MedplumClient:
    """A client that notes how long it would have slept."""
    naps = [] if slept is None else slept
    return MedplumClient(server.base_url, "id", SecretStr("secret"), sleep=naps.append)


def job(status: str, **more: Any) -> dict[str, Any]:
    """An AsyncJob."""
    return {"resourceType": "AsyncJob", "id": "j-1", "status": status, **more}


COMPLETED = Said(
    200,
    job(
        "completed",
        output={
            "resourceType": "Parameters",
            "parameter": [{"name": "results", "valueReference": {"reference": "Binary/b-1"}}],
        },
    ),
)
RUNNING = Said(202, job("accepted"))
THROTTLED = Said(
    429, {"issue": [{"code": "throttled", "diagnostics": json.dumps({"_msBeforeNext": 42_000})}]}
)


def always() -> bool:
    """Wait for ever."""
    return True


def test_the_preference_is_exact_and_the_result_is_asked_for_without_fhirs_accept(
    server: Script,
) -> None:
    """Contract §9: anything beside it runs at once; with FHIR's Accept the content is left out."""
    server.say("/fhir/R4/job/j-1/status", COMPLETED)
    assert client_of(server).run_job(BODY, 1, keep_waiting=always) == [CREATED]
    handed_in, _looked, fetched = server.at("/fhir/R4")
    assert handed_in.headers["Prefer"] == "respond-async"
    assert "fhir" not in fetched.headers["Accept"]
    assert {each.headers.get("Authorization") for each in server.at("/fhir/R4")} == {"Bearer t1"}


def test_a_running_job_is_looked_at_more_and_more_seldom(server: Script) -> None:
    server.say("/fhir/R4/job/j-1/status", *[RUNNING] * 8, COMPLETED)
    slept: list[float] = []
    client_of(server, slept).run_job(BODY, 1, keep_waiting=always)
    assert slept == sorted(slept)
    assert slept[-1] == 10.0


@pytest.mark.parametrize("said", [Said(503, b"<html>"), Said(200, b"{", cut=True), Said(504, {})])
def test_a_look_that_fails_is_no_end_of_the_job(server: Script, said: Said) -> None:
    server.say("/fhir/R4/job/j-1/status", RUNNING, said, COMPLETED)
    assert client_of(server).run_job(BODY, 1, keep_waiting=always) == [CREATED]


def test_a_look_that_is_throttled_waits_as_told(server: Script) -> None:
    """Contract §9: looking costs a point, and gets a 429 when there is none."""
    server.say("/fhir/R4/job/j-1/status", THROTTLED, COMPLETED)
    slept: list[float] = []
    assert client_of(server, slept).run_job(BODY, 1, keep_waiting=always) == [CREATED]
    assert slept == [42.0]


@pytest.mark.parametrize(
    "said",
    [
        Said(200, job("error", output={"parameter": [{"name": "outcome"}]})),
        Said(404, {"issue": [{"code": "not-found"}]}),
        Said(200, job("completed")),
    ],
    ids=["error", "unknown", "no-result"],
)
def test_http_200_is_not_success_the_jobs_own_status_counts(server: Script, said: Said) -> None:
    server.say("/fhir/R4/job/j-1/status", said)
    with pytest.raises(JobFailed):
        client_of(server).run_job(BODY, 1, keep_waiting=always)


def test_a_job_cancelled_for_good_is_not_waited_for_for_ever(server: Script) -> None:
    """Contract §9: one that never ran answers 202 for ever."""
    server.say("/fhir/R4/job/j-1/status", Said(202, job("cancelled")))
    with pytest.raises(Ambiguous, match="cancelled"):
        client_of(server).run_job(BODY, 1, keep_waiting=always)


@pytest.mark.parametrize(
    "result",
    [
        Said(200, {"resourceType": "Binary", "id": "b-1"}),
        Said(200, {"entry": []}),
        Said(200, b"not JSON"),
        Said(500, {}),
    ],
    ids=["metadata", "fewer", "no-json", "fails"],
)
def test_a_result_that_is_not_whole_proves_nothing(server: Script, result: Said) -> None:
    server.say("/fhir/R4/job/j-1/status", COMPLETED)
    server.say("/fhir/R4/Binary/b-1", result)
    with pytest.raises(Ambiguous):
        client_of(server).run_job(BODY, 1, keep_waiting=always)


def test_a_result_is_fetched_again_when_fetching_it_fails(server: Script) -> None:
    server.say("/fhir/R4/job/j-1/status", COMPLETED)
    server.say("/fhir/R4/Binary/b-1", Said(503, {}), THROTTLED, Said(200, {"entry": [CREATED]}))
    assert client_of(server).run_job(BODY, 1, keep_waiting=always) == [CREATED]


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (Said(429, {}), Transient),
        (Said(400, {"issue": [{"code": "invalid"}]}), Unacceptable),
        (Said(403, {}), Permanent),
        (Said(504, {}), Ambiguous),
        (Said(202, {"issue": []}), Ambiguous),
        (Said(302, b"", {"Location": "https://elsewhere.invalid/"}), Permanent),
    ],
)
def test_a_job_that_is_not_taken_says_why(
    server: Script, said: Said, error: type[Exception]
) -> None:
    server.say("/fhir/R4", said)
    with pytest.raises(error):
        client_of(server).run_job(BODY, 1, keep_waiting=always)


def test_a_server_that_carries_it_out_at_once_is_believed(server: Script) -> None:
    server.say("/fhir/R4", Said(200, {"entry": [CREATED]}))
    assert client_of(server).run_job(BODY, 1, keep_waiting=always) == [CREATED]


# -- what a delivery makes of them ---------------------------------------------------------------


class Jobbing(Failing):
    """Jobs end as a test says; everything else is real."""

    def __init__(self, client: MedplumClient, *ends: Exception) -> None:
        super().__init__(client)
        self._ends = list(ends)

    def run_job(
        self, body: bytes, entries: int, *, keep_waiting: Callable[[], bool]
    ) -> list[dict[str, Any]]:
        """The next end, or the real one."""
        if self._ends:
            raise self._ends.pop(0)
        return self._client.run_job(body, entries, keep_waiting=keep_waiting)


@pytest.mark.sandbox
def test_what_a_failed_job_left_undone_goes_at_once(client: MedplumClient) -> None:
    """It would fail again, for the whole deadline."""
    jobbing = Jobbing(client, JobFailed("error"))
    deliverer = Deliverer(
        jobbing, exclusive=True, deadline_seconds=60, sleep=lambda _s: None, manner=JOBS
    )
    assert sum(len(each) for each in deliverer.deliver(many(5))) == 5
    assert jobbing.bundles == 1


def test_the_deadline_ends_the_wait_for_a_job_and_the_lease_is_renewed_until_then(
    server: Script,
) -> None:
    now, renewed = [0.0], list[float]()
    server.say("/fhir/R4/Patient/_search", Said(200, {"entry": []}))
    server.say("/fhir/R4/job/j-1/status", RUNNING)

    def sleep(seconds: float) -> None:
        now[0] += seconds

    waiting = MedplumClient(
        server.base_url, "id", SecretStr("secret"), clock=lambda: now[0], sleep=sleep
    )
    deliverer = Deliverer(
        waiting,
        exclusive=True,
        deadline_seconds=60,
        clock=lambda: now[0],
        sleep=sleep,
        before_sending=lambda: renewed.append(now[0]),
        manner=JOBS,
    )
    ended = [each for finished in deliverer.deliver(many(3)) for each in finished]
    assert {each.verdict for each in ended} == {Verdict.OPEN}
    assert max(round(b - a, 3) for a, b in pairwise(renewed)) <= 10.0
    assert len(server.at("/fhir/R4/job")) > 5


def test_jobs_are_refused_where_nobody_runs_them(client: MedplumClient) -> None:
    with pytest.raises(Permanent, match="via batch"):
        Deliverer(Failing(client), exclusive=True, deadline_seconds=60, manner=JOBS)
