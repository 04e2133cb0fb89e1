"""The inbox in Dagster: a sensor that sees that events wait, and the job that delivers them.

Belongs here: when a run is worth it, and what is reported of it. Does not belong here: what is
delivered (``operations.delivering``), or taking events (``inbox``, a process of its own).

The sensor asks the manifest alone, so that a tick costs a few milliseconds and a slow source keeps
no event. One run at a time; a type that another run is working on is left to that run, which
delivers all that is pending of it. After a run that failed the sensor rests longer and longer.
"""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from migration_assets.connections import Connections
from migration_assets.defs.back_off import EVERYTHING, BackOff, read_back_off
from migration_assets.defs.failing import failure, shown_safely
from migration_assets.defs.following import streams_at_work
from migration_assets.defs.looking_on import look_on
from migration_assets.errors import MigrationError
from migration_assets.mapping import Mapping
from migration_assets.operations.delivering import deliver_events, due, streams_of

JOB = "inbox"
SENSOR = "inbox"
OP = "deliver_events"
EVERY_SECONDS = 1
"""It asks the manifest alone, in 3 ms (SQLite)."""
MAX_RUNTIME_SECONDS = 3600
"""One orphaned run would keep every event for ever (dagster.md §5, F2)."""


def inbox_job(mappings: Sequence[Mapping[Any]]) -> dg.JobDefinition:
    """The job that delivers what services sent."""

    @dg.op(name=OP, description="Deliver the events that wait, in load order.")
    def _deliver(
        context: dg.OpExecutionContext, connections: dg.ResourceParam[Connections]
    ) -> None:
        try:
            with connections.run(context.run.run_id) as run:
                done = deliver_events(run, mappings)
        except Exception as error:  # noqa: BLE001 - an unexpected text may quote a row: left out
            raise failure(context, error, "Delivering events") from None
        for stream in done.busy:
            context.log.info("%s is left to the run that is writing it.", stream)
        counts = {
            f"{stream}/{state}": number
            for stream, states in done.by_stream.items()
            for state, number in states.items()
        }
        settled = sum(sum(states.values()) for states in done.by_stream.values())
        context.add_output_metadata({"settled": settled, **counts})

    @dg.job(
        name=JOB,
        tags={"dagster/max_runtime": str(MAX_RUNTIME_SECONDS), "migration/mode": JOB},
        description="Deliver the events that services sent to the inbox, as their types' phases "
        "permit. The sensor of the same name starts it within seconds.",
        executor_def=dg.in_process_executor,
    )
    def _job() -> None:
        _deliver()

    return _job


def inbox_sensor(mappings: Sequence[Mapping[Any]], *, running: bool) -> dg.SensorDefinition:
    """The sensor; ``running``: without being turned on, as services may send here."""
    status = dg.DefaultSensorStatus
    types = {each.stream: each.head for each in streams_of(mappings)}

    @dg.sensor(
        name=SENSOR,
        job_name=JOB,  # not the job itself: Dagster would copy the sensor, and warn of that
        minimum_interval_seconds=EVERY_SECONDS,
        default_status=status.RUNNING if running else status.STOPPED,
        description="Asks the manifest whether events wait that services sent, and starts one run "
        "that delivers them. Rests longer and longer after failures.",
    )
    def _sensor(
        context: dg.SensorEvaluationContext, connections: dg.ResourceParam[Connections]
    ) -> dg.SensorResult:
        with shown_safely("Looking for events"):
            return look_on(
                lambda: _tick(context, connections, mappings, types),
                context.instance,
                every_seconds=EVERY_SECONDS,
            )

    return _sensor


def _tick(
    context: dg.SensorEvaluationContext,
    connections: Connections,
    mappings: Sequence[Mapping[Any]],
    types: dict[str, str],
) -> dg.SensorResult:
    jobs, busy = streams_at_work(context.instance, mappings)
    if JOB in jobs:
        said = "A delivery of events is queued or running."
        return dg.SensorResult(skip_reason=said, cursor=context.cursor)
    now = connections.clock().timestamp()
    state = read_back_off(context.cursor)
    _learn(context.instance, state, now)
    if state.rests(EVERYTHING, now):
        said = "Resting after a failed delivery."
        return dg.SensorResult(skip_reason=said, cursor=state.write())
    try:
        with connections.manifest() as manifest:
            streams = due(manifest, connections.adoption(), mappings)
    except MigrationError as error:
        state.fail(EVERYTHING, now, by_run=False)
        return dg.SensorResult(skip_reason=str(error), cursor=state.write())
    at_work = {types[each] for each in busy}
    free = [each for each in streams if types[each] not in at_work]
    if not free:
        said = f"Left to the runs at work: {', '.join(streams)}." if streams else "No event waits."
        return dg.SensorResult(skip_reason=said, cursor=state.write())
    return dg.SensorResult([dg.RunRequest()], cursor=state.write())


def _learn(instance: dg.DagsterInstance, state: BackOff, now: float) -> None:
    """What became of the last run."""
    last = instance.get_run_records(dg.RunsFilter(job_name=JOB), limit=1)
    run = last[0].dagster_run if last else None
    if run is None or run.run_id == state.counted or not run.is_finished:
        return
    state.counted = run.run_id
    if run.status is dg.DagsterRunStatus.SUCCESS:
        state.recover([EVERYTHING])
    else:
        state.fail(EVERYTHING, now, by_run=True)
