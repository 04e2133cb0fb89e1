"""Drills on one machine: SQLite, the default run launcher, the shipped dagster.yaml."""

import dagster as dg
import pytest

from migration_assets_tests.drills.gate import Asked
from migration_assets_tests.drills.installation import Installation, run_workers
from migration_assets_tests.drills.processes import kill, until

pytestmark = [pytest.mark.timeout(300), pytest.mark.sandbox]


def bundle(asked: Asked) -> bool:
    """A request that writes."""
    return asked[0] == "POST" and asked[1].rstrip("/") == "/fhir/R4"


def page_of(stream: str) -> object:
    """A request for rows of a stream."""
    return lambda asked: asked[1].startswith(f"/api/{stream}?")


def test_a_run_worker_killed_after_medplum_accepted_is_replaced_and_nothing_is_written_twice(
    one_machine: Installation,
) -> None:
    """What it had sent is looked for; the run in its place is not kept out by its lease.

    The code server is killed with the next run under way: the run is an orphan and ends well.
    """
    months = one_machine.months()
    code = one_machine.started_code_server()
    daemon = one_machine.start("daemon")
    with one_machine.asked() as asked:
        held = one_machine.medplum.hold(bundle, answered=True)
        first = asked.launch(months[0], months[-1])
        assert held.reached.wait(60), daemon.said()
        for worker in run_workers(code):
            kill(worker)
        one_machine.forget_the_dead()
        assert asked.ended(first) is dg.DagsterRunStatus.FAILURE
        held = one_machine.clinic.hold(lambda each: each[1].startswith("/api/patients?"))
        second = asked.retry_of(first)
        assert held.reached.wait(60), daemon.said()
        code.kill()
        one_machine.clinic.open()
        assert asked.ended(second) is dg.DagsterRunStatus.SUCCESS
        asked.all_ended()
        asked.assert_nothing_is_held()
    one_machine.assert_the_law()


def test_a_daemon_killed_in_the_middle_of_a_backfill_goes_on_with_it_and_repeats_no_run(
    one_machine: Installation,
) -> None:
    """What runs goes on without it; what is queued waits for it.

    The legacy API dies under the last run: it fails, and run again does only what is missing.
    """
    months = one_machine.months()
    one_machine.started_code_server()
    with one_machine.asked() as asked:
        asked.backfill([months[0], months[2], months[4]])  # three ranges, three runs
        held = one_machine.clinic.hold(lambda each: each[1].startswith("/api/encounters?"))
        daemon = one_machine.start("daemon")
        assert held.reached.wait(60), daemon.said()
        daemon.kill()
        before = {each.run_id for each in asked.runs()}
        one_machine.clinic.open()
        under_way = {dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED}
        until(
            lambda: not any(each.status in under_way for each in asked.runs()),
            "what was under way ends without the daemon",
        )
        one_machine.start("daemon")
        until(lambda: len(asked.runs()) >= 3, "every range has its run")
        runs = asked.all_ended()
        assert len(runs) == 3
        assert before <= {each.run_id for each in runs}
        assert {each.status for each in runs} == {dg.DagsterRunStatus.SUCCESS}
        asked.assert_nothing_is_held()
    one_machine.assert_the_law()


def test_a_legacy_api_that_dies_in_the_middle_leaves_only_what_is_missing_to_do(
    one_machine: Installation,
) -> None:
    """Types that were done are not pulled again; the windows of the one that broke are."""
    months = one_machine.months()
    one_machine.started_code_server()
    one_machine.start("daemon")
    with one_machine.asked() as asked:
        held = one_machine.clinic.hold(lambda each: each[1].startswith("/api/observations?"))
        first = asked.launch(months[0], months[-1], {"dagster/max_retries": "0"})
        assert held.reached.wait(60)
        one_machine.clinic.shut()
        held.let_go.set()
        assert asked.ended(first, 120) is dg.DagsterRunStatus.FAILURE
        one_machine.clinic.open()
        seen = len(one_machine.clinic.asked)
        second = asked.reexecuted(first)
        assert asked.ended(second) is dg.DagsterRunStatus.SUCCESS
        again = {path.partition("?")[0] for _, (_, path) in one_machine.clinic.asked[seen:]}
        assert "/api/observations" in again
        assert "/api/patients" not in again
        asked.assert_nothing_is_held()
    one_machine.assert_the_law()
