"""Sweeps: the job that reads streams whole, and the schedule that starts it at night.

Belongs here: when a sweep runs, and that each type has a run of its own: one that is refused must
not keep the others from theirs. Does not belong here: what a sweep believes (``sweeping``).
"""

from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg

from migration_assets.connections import Connections
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
        description="Sweeps every stream at night, for what no change time tells.",
    )
    def _schedule(
        context: dg.ScheduleEvaluationContext, connections: dg.ResourceParam[Connections]
    ) -> Iterator[dg.RunRequest]:
        adoption, source = connections.adoption(), connections.source()
        night = context.scheduled_execution_time.date().isoformat()
        last_key = str(partitions.get_last_partition_key())
        for each in mappings:
            # A queue shows what changed, never all there is.
            whole = source.stream(each.stream).queue is None
            if whole and adoption.standing(each.resource_type).may_pull:
                yield dg.RunRequest(
                    run_key=f"{night} {each.resource_type}",
                    partition_key=last_key,
                    asset_selection=[asset_key(one) for one in each.types],
                    run_config={"ops": {op_name(each): {"config": {"sweep": True}}}},
                )

    return _schedule
