"""Sweeps: the job that reads streams whole, and the schedule that starts it at night.

Belongs here: when a sweep runs, and that each type has a run of its own: one that is refused must
not keep the others from theirs. Does not belong here: what a sweep believes (``sweeping``).
"""

from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg

from migration_assets.connections import Connections
from migration_assets.defs.failing import shown_safely
from migration_assets.defs.incremental import MODE_TAG
from migration_assets.defs.keys import asset_key, op_name
from migration_assets.defs.reconciling import to_pull
from migration_assets.mapping import Mapping

SWEEP_JOB = "sweep"
MAX_RUNTIME_SECONDS = 6 * 3600
"""A whole reading takes longer than a pull; an orphaned run must still end (dagster.md §5, F2)."""


def sweep_job(mappings: Sequence[Mapping[Any]]) -> Any:
    """The job that sweeps what it is asked for; all of it by default."""
    return dg.define_asset_job(
        SWEEP_JOB,
        selection=to_pull(mappings),
        tags={"dagster/max_runtime": str(MAX_RUNTIME_SECONDS), MODE_TAG: "sweep"},
        config={"ops": {op_name(each): {"config": {"sweep": True}} for each in mappings}},
        description="Read every stream whole: finds deletions and changes that no filter tells.",
    )


def sweep_schedule(
    mappings: Sequence[Mapping[Any]], partitions: dg.TimeWindowPartitionsDefinition, job: Any
) -> dg.ScheduleDefinition:
    """A sweep of every stream a night, each in its own run."""

    @dg.schedule(
        name="nightly_sweep",
        job=job,
        cron_schedule="45 3 * * *",
        description="Sweeps every stream at night, for what no change time tells; not those that "
        "are paused, nor rehearsing ones with a change time.",
    )
    def _schedule(
        context: dg.ScheduleEvaluationContext, connections: dg.ResourceParam[Connections]
    ) -> Iterator[dg.RunRequest]:
        night = context.scheduled_execution_time.date().isoformat()
        last_key = str(partitions.get_last_partition_key())
        with shown_safely("Planning the nightly sweep"):
            for each in _swept(context, connections, mappings):
                yield dg.RunRequest(
                    run_key=f"{night} {each.resource_type}",
                    partition_key=last_key,
                    asset_selection=[asset_key(one) for one in each.types],
                    run_config={"ops": {op_name(each): {"config": {"sweep": True}}}},
                )

    return _schedule


def _swept(
    context: dg.ScheduleEvaluationContext,
    connections: Connections,
    mappings: Sequence[Mapping[Any]],
) -> list[Mapping[Any]]:
    """The types to sweep tonight.

    Not a paused one, which would fail; nor a rehearsing one whose changes are told by a change
    time: nothing of it is in Medplum that a deletion would have to reach. One without a change time
    is swept in a rehearsal too: it has no other way to be followed.
    """
    adoption, source = connections.adoption(), connections.source()
    with connections.manifest() as manifest:
        paused = manifest.pauses.standing()
    chosen = []
    for each in mappings:
        standing, described = adoption.standing(each.resource_type), source.stream(each.stream)
        # A queue shows what changed, never all there is.
        if not standing.may_pull or described.queue is not None:
            continue
        if each.stream in paused:
            context.log.warning(
                "%s is paused and not swept: `migration resume` lets it go on.", each.resource_type
            )
        elif standing.may_deliver or described.cursor is None:
            chosen.append(each)
    return chosen
