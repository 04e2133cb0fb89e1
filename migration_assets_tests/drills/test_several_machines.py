"""Drills with PostgreSQL and Celery: deploy/'s own dagster.yaml, worker and units."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from migration_assets_tests.drills.conftest import RABBITMQ, REDIS, several_machines
from migration_assets_tests.drills.gate import Asked
from migration_assets_tests.drills.installation import Installation
from migration_assets_tests.drills.processes import kill, until

pytestmark = [pytest.mark.timeout(300), pytest.mark.sandbox, pytest.mark.postgres]

LIMIT, SECONDS = 8, 4
"""Requests that the legacy API allows all of them together, and in how long."""
TYPES = ["Practitioner", "Organization", "Patient", "Condition"]
"""Enough to be killed in the middle of; the law is held over what was landed."""


def bundle(asked: Asked) -> bool:
    """A request that writes."""
    return asked[0] == "POST" and asked[1].rstrip("/") == "/fhir/R4"


@pytest.fixture
def celery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres_url: str
) -> Iterator[Installation]:
    """An installation on Redis."""
    with several_machines(tmp_path / "redis", postgres_url, REDIS) as made:
        for name, value in made.variables.items():
            monkeypatch.setenv(name, value)
        yield made


def test_a_killed_celery_child_and_a_lost_worker_are_replaced_and_nothing_is_written_twice(
    celery: Installation,
) -> None:
    """Run monitoring sees the child's death; nobody sees that of a machine.

    There the run's greatest length ends it (dagster.md §5, F2), and it is tried again as well.
    """
    months = celery.months()
    celery.started_code_server()
    daemon = celery.start("daemon")
    worker = celery.start("worker-1")
    with celery.asked() as asked:
        held = celery.medplum.hold(bundle, answered=True)
        first = asked.launch(months[0], months[-1], types=TYPES)
        assert held.reached.wait(60), worker.said() + daemon.said()
        for child in worker.children():
            kill(child)
        celery.forget_the_dead()
        assert asked.ended(first) is dg.DagsterRunStatus.FAILURE
        held = celery.clinic.hold(lambda each: each[1].startswith("/api/patients?"))
        second = asked.retry_of(first)
        assert held.reached.wait(60), worker.said()
        worker.kill_all()
        asked.instance.add_run_tags(second, {"dagster/max_runtime": "1"})
        celery.clinic.open()
        assert asked.ended(second) is dg.DagsterRunStatus.FAILURE
        celery.forget_the_dead()
        celery.start("worker-2")
        third = asked.retry_of(second)
        asked.instance.add_run_tags(third, {"dagster/max_runtime": "3600"})  # tags are inherited
        assert asked.ended(third) is dg.DagsterRunStatus.SUCCESS
        asked.assert_nothing_is_held()
    celery.assert_the_law()


@pytest.mark.parametrize("broker", [REDIS, RABBITMQ], ids=["redis", "rabbitmq"])
def test_four_workers_share_budgets_and_leases_and_write_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres_url: str, broker: str
) -> None:
    """Disjoint types and disjoint partitions at once, on two brokers.

    Each run asks for its own; the same type's runs take turns at Medplum. The legacy API's limit
    is for all of them together.
    """
    with several_machines(tmp_path / "four", postgres_url, broker, limit=(LIMIT, SECONDS)) as made:
        for name, value in made.variables.items():
            monkeypatch.setenv(name, value)
        months = made.months()
        made.started_code_server()
        workers = [made.start(f"worker-{number}") for number in range(1, 5)]
        made.start("daemon")
        with made.asked() as asked:
            by_type = [asked.launch(months[0], months[-1], types=[each]) for each in TYPES[:2]]
            by_month = [asked.launch(each, each, types=TYPES[2:]) for each in months]
            runs = until(lambda: asked.ended_all([*by_type, *by_month]), "every run ends", 240)
            assert set(runs.values()) == {dg.DagsterRunStatus.SUCCESS}, [w.said() for w in workers]
            took = {asked.process_of(each) for each in runs}
            assert len(took) == 4, took
            asked.assert_nothing_is_held()
        made.assert_the_law()
        moments = [moment for moment, (_, path) in made.clinic.asked if path.startswith("/api/")]
        # A second is left for requests that were slow to arrive.
        busiest = max(sum(0 <= each - one < SECONDS - 1 for each in moments) for one in moments)
        assert busiest <= LIMIT
