"""Drills with PostgreSQL and Celery: deploy/'s own dagster.yaml, worker and units."""

import dagster as dg
import orjson
import pytest

from migration_assets_tests.drills.gate import Asked
from migration_assets_tests.drills.installation import Installation
from migration_assets_tests.drills.law import assert_the_law, forget_the_dead, requests_counted
from migration_assets_tests.drills.processes import kill, until
from migration_assets_tests.drills.several import on_rabbitmq

pytestmark = [pytest.mark.timeout(600), pytest.mark.sandbox, pytest.mark.postgres]

LIMIT, SECONDS = 4, 3
"""Requests that the legacy API allows all of them together, and in how long."""
QUOTA, SPENT = 6_000, 5_400
"""Points a minute that Medplum allows all of them together, and those that somebody else took of
the first minute: what is left is less than any two of them want."""
TYPES = ["Practitioner", "Organization", "Patient", "Condition"]
"""Enough to be killed in the middle of; the law is held over what was landed."""
REACHED = 150
SUCCESS, FAILURE = dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE


def bundle(asked: Asked) -> bool:
    """A request that writes."""
    return asked[0] == "POST" and asked[1].rstrip("/") == "/fhir/R4"


def test_four_workers_share_budgets_and_leases_and_write_nothing_twice(
    celery: Installation,
) -> None:
    """Disjoint types and disjoint partitions at once; the same type's runs take turns at Medplum.

    The legacy API's limit and Medplum's quota are for all of them together, and both are reached.
    """
    months = celery.months()
    celery.describe([(LIMIT, SECONDS)])
    celery.sandbox.change(quota_per_minute=QUOTA)
    celery.ready("code")
    celery.ready("daemon")
    workers = [celery.start(f"worker-{number}") for number in range(1, 5)]
    for each in workers:
        celery.ready(each.name)
    with celery.asked() as asked:
        _spend(celery, SPENT)
        celery.sandbox.advance(40)  # the rest of the minute is waited for in earnest
        held = celery.medplum.hold(bundle)
        by_type = [asked.launch(months[0], months[-1], types=[each]) for each in TYPES[:2]]
        by_month = [asked.launch(each, each, types=TYPES[2:]) for each in months]
        assert held.reached.wait(REACHED), [each.said() for each in workers]
        # Who knew nothing of the points that are set aside for it would send his bundle by now.
        until(lambda: len(_searched(celery)) >= len(TYPES) - 1, "the others look for theirs")
        celery.medplum.open()
        runs = until(lambda: asked.ended_all([*by_type, *by_month]), "every run ends")
        assert set(runs.values()) == {SUCCESS}, [each.said() for each in workers]
        took = {asked.process_of(each) for each in runs}
        assert len(took) == len(workers), took
        asked.assert_nothing_is_held()
    _assert_the_limits_held(celery)
    celery.sandbox.change(quota_per_minute=10_000_000)
    celery.sandbox.refill()
    celery.describe()
    assert_the_law(celery)


def _spend(made: Installation, points: int) -> None:
    """Begin a minute of Medplum's, and take so many points of it, 20 a search (contract §8)."""
    fhir = made.connections().medplum()
    assert fhir is not None
    entries = [{"request": {"method": "GET", "url": "Patient?identifier=any|one"}}] * (points // 20)
    body = {"resourceType": "Bundle", "type": "batch", "entry": entries}
    assert len(fhir.post_bundle(orjson.dumps(body), len(entries))) == len(entries)


def _searched(made: Installation) -> set[str]:
    return {path for _, (_, path) in made.medplum.asked if path.endswith("/_search")}


def _assert_the_limits_held(made: Installation) -> None:
    moments = [moment for moment, (_, path) in made.clinic.asked if path.startswith("/api/")]
    # All are on one account: a process with a budget of its own would be missing there.
    assert requests_counted(made) == len(moments)
    # Four that knew nothing of each other would need no time at all. A late start shortens it.
    assert moments[-1] - moments[0] >= (len(moments) - 1) // LIMIT * SECONDS - 1
    # A second is left for requests that were slow to arrive.
    busiest = max(sum(0 <= each - one < SECONDS - 1 for each in moments) for one in moments)
    assert busiest <= LIMIT < len(moments)
    stats = made.sandbox.stats()
    assert stats["points"] > QUOTA
    assert made.medplum.refused == []
    # Nothing twice at the target: a version of each resource, and what that costs.
    assert stats["versions"] == sum(stats["resources"][each] for each in TYPES)
    searches = sum(not bundle(asked) for _, asked in made.medplum.asked)
    assert stats["points"] - SPENT <= 140 * stats["versions"] + 20 * searches


def test_a_killed_celery_child_and_a_lost_worker_are_replaced_and_nothing_is_written_twice(
    celery: Installation,
) -> None:
    """Run monitoring sees the child's death; nobody sees that of a machine.

    There the run's greatest length ends it (dagster.md §5, F2), and it is tried again as well. That
    Dagster's daemon may read of a failure too early, and then starts no retry, is the sensor
    owed_retries' business: it is on, and has a minute.
    """
    month = celery.months()[-1]
    celery.change_all("patients", "patient_id", "last_name", "Killed")
    celery.ready("code")
    daemon = celery.ready("daemon")
    for each in celery.running:
        if each.name.startswith("worker"):
            each.kill_all()
    worker = celery.ready("worker-1")
    with celery.asked() as asked:
        held = celery.medplum.hold(bundle, answered=True)
        first = asked.launch(month, month, types=TYPES)
        assert held.reached.wait(REACHED), worker.said() + daemon.said()
        for child in worker.children():
            kill(child)
        forget_the_dead(celery)
        assert asked.ended(first) is FAILURE
        held = celery.clinic.hold(lambda each: each[1].startswith("/api/patient_conditions?"))
        second = asked.retry_of(first)
        assert held.reached.wait(REACHED), worker.said()
        worker.kill_all()
        asked.instance.add_run_tags(second, {"dagster/max_runtime": "1"})
        celery.clinic.open()
        assert asked.ended(second) is FAILURE
        forget_the_dead(celery)
        third = asked.retry_of(second)
        # Tags are inherited, and whoever writes tags writes all of a run: not while it is launched.
        asked.handed_over(third)
        asked.instance.add_run_tags(third, {"dagster/max_runtime": "3600"})
        celery.ready("worker-2")
        assert asked.ended(third) is SUCCESS
        asked.assert_nothing_is_held()
    assert_the_law(celery)


def test_rabbitmq_carries_the_runs_as_redis_does(
    celery: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers, a run each: the one that is busy keeps none waiting behind its own."""
    month = celery.months()[-1]
    celery.change_all("practitioners", "practitioner_id", "last_name", "Rabbit")
    celery.change_all("patients", "patient_id", "last_name", "Rabbit")
    celery.ready("code")
    with on_rabbitmq(celery):
        monkeypatch.setenv("CELERY_BROKER_URL", celery.variables["CELERY_BROKER_URL"])
        workers = [celery.start("worker-1"), celery.start("worker-2")]
        for each in workers:
            celery.ready(each.name)
        with celery.asked() as asked:
            held = celery.clinic.hold(lambda each: each[1].startswith("/api/practitioners?"))
            first = asked.launch(month, month, types=["Practitioner"])
            celery.ready("daemon")
            assert held.reached.wait(REACHED), [each.said() for each in workers]
            second = asked.launch(month, month, types=["Patient"])
            assert asked.ended(second) is SUCCESS
            assert asked.status(first) is dg.DagsterRunStatus.STARTED
            celery.clinic.open()
            assert asked.ended(first) is SUCCESS
            assert asked.process_of(first) != asked.process_of(second)
            asked.assert_nothing_is_held()
        assert_the_law(celery)
