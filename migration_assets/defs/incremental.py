"""Incremental pulling: the job, what is asked of it, and the nightly safety net.

Belongs here: a pull of what changed since the marks, as Dagster launches it. Does not belong here:
when the sensor starts one (``following``).
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from migration_assets.connections import Connections
from migration_assets.defs.checks import check_specs
from migration_assets.defs.failing import shown_safely
from migration_assets.defs.keys import asset_key, op_name
from migration_assets.defs.reconciling import to_pull
from migration_assets.mapping import Mapping
from migration_assets.steps.polling import current_until

JOB = "incremental_pull"
MODE_TAG = "migration/mode"
MAX_RUNTIME_SECONDS = 3600
"""One orphaned run would block polling for ever (dagster.md §5, F2)."""


def incremental_job(mappings: Sequence[Mapping[Any]]) -> Any:
    """The job that pulls every type since its mark."""
    return dg.define_asset_job(
        JOB,
        selection=to_pull(mappings),
        tags={"dagster/max_runtime": str(MAX_RUNTIME_SECONDS), MODE_TAG: "incremental"},
        config={"ops": {op_name(each): {"config": {"incremental": True}} for each in mappings}},
        description="Pull what changed since each stream's high-water mark, and deliver it.",
    )


def incremental_request(
    going: Sequence[Mapping[Any]],
    partitions: dg.TimeWindowPartitionsDefinition,
    first_key: str,
    *,
    some: bool,
) -> dg.RunRequest:
    """One run over these types, for the partitions from ``first_key`` to the open one.

    ``some``: not all types take part. The others would fail, and take with them what comes after.
    """
    last_key = str(partitions.get_last_partition_key())
    span = {
        "dagster/asset_partition_range_start": first_key,
        "dagster/asset_partition_range_end": last_key,
    }
    config = {op_name(each): {"config": {"incremental": True}} for each in going}
    keys = [asset_key(name) for each in going for name in each.types]
    checks = [spec.key for each in going for spec in check_specs(each)]
    return dg.RunRequest(
        partition_key=last_key if first_key == last_key else None,
        tags=span if first_key != last_key else {},
        run_config={"ops": config},
        asset_selection=keys if some else None,
        asset_check_keys=checks if some else None,
    )


def nightly_schedule(
    mappings: Sequence[Mapping[Any]], partitions: dg.TimeWindowPartitionsDefinition, job: Any
) -> dg.ScheduleDefinition:
    """The safety net under the sensor: one incremental pull a night, whatever it saw."""

    @dg.schedule(
        name="nightly_pull",
        job=job,
        cron_schedule="15 2 * * *",
        description="One incremental pull a night, should the sensor be off or have missed one; "
        "of all types, those too that the sensor cannot ask cheaply.",
    )
    def _schedule(
        context: dg.ScheduleEvaluationContext, connections: dg.ResourceParam[Connections]
    ) -> dg.RunRequest | dg.SkipReason:
        with shown_safely("Planning the nightly pull"):
            return _nightly(context, connections, mappings, partitions)

    return _schedule


def _nightly(
    context: dg.ScheduleEvaluationContext,
    connections: Connections,
    mappings: Sequence[Mapping[Any]],
    partitions: dg.TimeWindowPartitionsDefinition,
) -> dg.RunRequest | dg.SkipReason:
    adoption = connections.adoption()
    with connections.manifest() as manifest:
        paused = manifest.pauses.standing()
        marks = {each.stream: manifest.high_water_mark(each.stream) for each in mappings}
        pulled = [each for each in mappings if adoption.standing(each.resource_type).may_pull]
        going = [
            each for each in pulled if each.stream not in paused and marks[each.stream] is not None
        ]
        reached = [
            current_until(manifest, each.stream)
            or marks[each.stream]
            or context.scheduled_execution_time
            for each in going
        ]
    still = " ".join(
        f"{why}: {', '.join(names)}{way_out}."
        for why, way_out, names in (
            (
                "Paused",
                "; `migration resume` lets them go on",
                [each.resource_type for each in pulled if each.stream in paused],
            ),
            (
                "No mark yet",
                ": materialize their partitions first",
                [
                    each.resource_type
                    for each in pulled
                    if each.stream not in paused and marks[each.stream] is None
                ],
            ),
        )
        if names
    )
    if not going:
        return dg.SkipReason(still or "No type is pulled in its phase.")
    if still:
        context.log.warning(still)
    first = key_for(partitions, min(reached) - timedelta(days=1))
    return incremental_request(going, partitions, first, some=len(going) < len(mappings))


def key_for(partitions: dg.TimeWindowPartitionsDefinition, moment: datetime) -> str:
    """The partition a moment falls in; the first one for what lies before it."""
    first = partitions.get_first_partition_window()
    if first is None or moment <= first.start:
        return str(partitions.get_first_partition_key())
    return str(partitions.get_partition_key_for_timestamp(moment.timestamp()))
