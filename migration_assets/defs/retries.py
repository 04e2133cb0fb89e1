"""Retries that Dagster owes and does not start: their run's failure is said again.

Belongs here: finding such runs, and the sensor that looks for them. Does not belong here: whether a
failed step is worth a retry (``failing``), or how many there are (``dagster.yaml``).

Dagster starts a retry when its daemon reads the event that a run failed, and reads it once. It is
written before the run's own state. A daemon that looks in between finds a run that has not failed
and goes on: the run is marked to be retried for ever, and the backfill it belongs to waits as long.
Where the code location does not answer at that moment, the retry is given up for good. To say that
the run failed once more has the daemon look again, and starts nothing twice: it knows a run that it
retried.
"""

from datetime import datetime, timedelta

import dagster as dg

from migration_assets.connections import Connections
from migration_assets.defs.failing import shown_safely

SENSOR = "owed_retries"
EVERY_SECONDS = 30
PATIENCE = timedelta(seconds=30)
"""How old a failure is before it is said again: the daemon looks every five seconds."""
REACH = timedelta(days=1)
"""What failed longer ago is somebody's decision by now."""
TIMES = 5
"""How often a failure is said again at most."""

_WILL_RETRY = "dagster/will_retry"
_RETRIED_AS = "dagster/auto_retry_run_id"
_SAID_AGAIN = "migration/failure_said_again"
_GIVEN_UP = "Failed to retry run"
_RUNS_LOOKED_AT = 200


def owed(instance: dg.DagsterInstance, now: datetime) -> list[dg.DagsterRun]:
    """The runs that were to be retried, and of which nothing came."""
    records = instance.get_run_records(
        dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=now - REACH),
        limit=_RUNS_LOOKED_AT,
    )
    old = (now - PATIENCE).timestamp()
    failed = [each.dagster_run for each in records if (each.end_time or 0.0) <= old]
    return [each for each in failed if _is_owed(instance, each)]


def say_again(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Report the failure once more; whether it is retried, Dagster decides anew."""
    times = _times(run) + 1
    instance.add_run_tags(run.run_id, {_SAID_AGAIN: f"{times} {run.run_id}"})
    instance.report_run_failed(
        run,
        "The run failed before, and the retry that was due did not start: its failure is said "
        f"again ({times} of {TIMES}).",
    )


def owed_retries_sensor() -> dg.SensorDefinition:
    """The sensor that looks for them; on by itself, as the retries are that it is about."""

    @dg.sensor(
        name=SENSOR,
        minimum_interval_seconds=EVERY_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Looks for failed runs whose retry is due and did not start, and has Dagster "
        "look at them again. Asks neither the source nor Medplum, and starts nothing by itself.",
    )
    def _sensor(
        context: dg.SensorEvaluationContext, connections: dg.ResourceParam[Connections]
    ) -> dg.SkipReason:
        with shown_safely("Looking for retries that did not start"):
            if not context.instance.run_retries_enabled:
                return dg.SkipReason("Retries are switched off in dagster.yaml.")
            found = owed(context.instance, connections.clock())
            for each in found:
                say_again(context.instance, each)
        if not found:
            return dg.SkipReason("Every retry that was due has started.")
        named = ", ".join(each.run_id for each in found)
        return dg.SkipReason(f"A retry was due and did not start; said again: {named}.")

    return _sensor


def _is_owed(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether Dagster said that it would try again and did not, or gave up to start it."""
    if _RETRIED_AS in run.tags or _times(run) >= TIMES:
        return False
    if run.tags.get(_WILL_RETRY) == "true":
        return True
    told = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
    given_up = sum(each.message == _GIVEN_UP for each in told)
    return given_up > _times(run)


def _times(run: dg.DagsterRun) -> int:
    """How often this run's failure was said again; a retry inherits its parent's tags."""
    times, _, of = run.tags.get(_SAID_AGAIN, "").partition(" ")
    return int(times) if of == run.run_id else 0
