"""Drills on one machine: SQLite, the default run launcher, the shipped dagster.yaml."""

import dagster as dg
import pytest

from migration_assets_tests.drills.gate import Asked
from migration_assets_tests.drills.installation import Installation, run_workers
from migration_assets_tests.drills.law import assert_the_law, forget_the_dead
from migration_assets_tests.drills.processes import kill, until

pytestmark = [pytest.mark.timeout(600), pytest.mark.sandbox]

TYPES = ["Practitioner", "Organization", "Patient", "Condition"]
"""Enough to be killed in the middle of; the law is held over what was landed."""
REACHED = 150
SUCCESS, FAILURE = dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE


def bundle(asked: Asked) -> bool:
    """A request that writes."""
    return asked[0] == "POST" and asked[1].rstrip("/") == "/fhir/R4"


def for_patients(asked: Asked) -> bool:
    """A request for rows of patients."""
    return asked[1].startswith("/api/patients?")


def test_a_run_worker_killed_after_medplum_accepted_is_replaced_and_nothing_is_written_twice(
    one_machine: Installation,
) -> None:
    """What it had sent is looked for; the run in its place is not kept out by its lease.

    The code server is killed with the next run under way: the run is an orphan and ends well.
    """
    months = one_machine.months()
    one_machine.change_all("patients", "patient_id", "last_name", "Killed")
    code = one_machine.ready("code")
    daemon = one_machine.ready("daemon")
    with one_machine.asked() as asked:
        held = one_machine.medplum.hold(bundle, answered=True)
        first = asked.launch(months[0], months[-1], types=TYPES)
        assert held.reached.wait(REACHED), daemon.said()
        for worker in run_workers(code):
            kill(worker)
        forget_the_dead(one_machine)
        assert asked.ended(first) is FAILURE
        held = one_machine.clinic.hold(for_patients)
        second = asked.retry_of(first)
        assert held.reached.wait(REACHED), daemon.said()
        code.kill()
        one_machine.clinic.open()
        assert asked.ended(second) is SUCCESS
        asked.all_ended()
        asked.assert_nothing_is_held()
    assert_the_law(one_machine)


def test_a_daemon_killed_in_the_middle_of_a_backfill_goes_on_with_it_and_repeats_no_run(
    one_machine: Installation,
) -> None:
    """What runs goes on without it; what is queued waits for it."""
    months = one_machine.months()
    one_machine.ready("code")
    one_machine.ready("daemon").kill()  # a backfill waits up to 30 s for a daemon's next look
    with one_machine.asked() as asked:
        backfill = asked.backfill([months[0], months[2]], TYPES)  # two ranges, two runs
        held = one_machine.clinic.hold(for_patients)
        daemon = one_machine.ready("daemon")
        assert held.reached.wait(REACHED), daemon.said()
        daemon.kill()
        before = asked.runs_of(backfill)
        queued = asked.launch(months[1], months[1], types=TYPES[:1])
        one_machine.clinic.open()
        under_way = {dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED}
        until(
            lambda: not any(each.status in under_way for each in asked.runs()),
            "what was under way ends without the daemon",
        )
        assert asked.status(queued) is dg.DagsterRunStatus.QUEUED
        one_machine.ready("daemon")
        assert asked.ended(queued) is SUCCESS
        until(lambda: len(asked.runs_of(backfill)) >= 2, "every range has its run")
        asked.all_ended()
        after = asked.runs_of(backfill)
        assert len(after) == 2
        assert before <= after
        assert {asked.status(each) for each in after} == {SUCCESS}
        asked.assert_nothing_is_held()
    assert_the_law(one_machine)


def test_a_legacy_api_that_dies_in_the_middle_leaves_only_what_is_missing_to_do(
    one_machine: Installation,
) -> None:
    """Types that were done are not pulled again; the windows of the one that broke are."""
    months = one_machine.months()
    one_machine.ready("code")
    one_machine.ready("daemon")
    with one_machine.asked() as asked:
        held = one_machine.clinic.hold(lambda each: each[1].startswith("/api/patient_conditions?"))
        first = asked.launch(months[0], months[-1], {"dagster/max_retries": "0"}, types=TYPES)
        assert held.reached.wait(REACHED)
        one_machine.clinic.shut()
        held.let_go.set()
        assert asked.ended(first) is FAILURE
        one_machine.clinic.open()
        seen = len(one_machine.clinic.asked)
        second = asked.reexecuted(first)
        assert asked.ended(second) is SUCCESS
        again = {path.partition("?")[0] for _, (_, path) in one_machine.clinic.asked[seen:]}
        assert "/api/patient_conditions" in again
        assert "/api/patients" not in again
        asked.assert_nothing_is_held()
    assert_the_law(one_machine)
