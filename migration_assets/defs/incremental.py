"""Incremental pulling: the job, the sensor that starts it, and the nightly safety net.

Belongs here: when a pull is worth a run. The sensor asks one cheap question per stream and keeps
nothing but its back-off in the cursor: the mark lives with the rows (dagster.md, "Where the mark
lives"). At most one run per tick, none while one is active, fewer and fewer after failures.
"""

import itertools
import json
from collections.abc import Collection, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from migration_assets.connections import Connections
from migration_assets.defs.keys import asset_key, op_name
from migration_assets.defs.reconciling import to_pull
from migration_assets.errors import MigrationError
from migration_assets.manifest import Manifest
from migration_assets.mapping import Mapping
from migration_assets.polling import note_current
from migration_assets.run import Puller

JOB = "incremental_pull"
MODE_TAG = "migration/mode"
MAX_RUNTIME_SECONDS = 3600
"""One orphaned run would block polling for ever (dagster.md §5, F2)."""

_BUSY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]
_PROBE_PAGES = 2
_FIRST_BACK_OFF = timedelta(seconds=30)
_LONGEST_BACK_OFF = timedelta(minutes=30)


def incremental_job(mappings: Sequence[Mapping[Any]]) -> Any:
    """The job that pulls every type since its mark."""
    return dg.define_asset_job(
        JOB,
        selection=to_pull(mappings),
        tags={"dagster/max_runtime": str(MAX_RUNTIME_SECONDS), MODE_TAG: "incremental"},
        description="Pull what changed since each stream's high-water mark, and deliver it.",
    )


def incremental_request(
    mappings: Sequence[Mapping[Any]],
    partitions: dg.TimeWindowPartitionsDefinition,
    first_key: str,
    *,
    run_key: str | None = None,
    paused: Collection[str] = (),
) -> dg.RunRequest:
    """One run over every type, for the partitions from ``first_key`` to the open one.

    All types, although one stream changed: a new organization releases patients awaiting it, and
    asking a quiet stream costs one request. Those of ``paused`` streams are left out: they would
    fail, and take with them what comes after.
    """
    going = [each for each in mappings if each.stream not in paused]
    last_key = str(partitions.get_last_partition_key())
    span = {
        "dagster/asset_partition_range_start": first_key,
        "dagster/asset_partition_range_end": last_key,
    }
    config = {op_name(each): {"config": {"incremental": True}} for each in going}
    keys = [asset_key(name) for each in going for name in each.types]
    return dg.RunRequest(
        run_key=run_key,
        partition_key=last_key if first_key == last_key else None,
        tags=span if first_key != last_key else {},
        run_config={"ops": config},
        asset_selection=keys if paused else None,
    )


def change_sensor(
    mappings: Sequence[Mapping[Any]], partitions: dg.TimeWindowPartitionsDefinition, job: Any
) -> dg.SensorDefinition:
    """The sensor that polls the source."""

    @dg.sensor(
        name="legacy_changes",
        job=job,
        minimum_interval_seconds=30,
        description="Asks each legacy stream for changes past its mark; starts one pull if any.",
    )
    def _sensor(
        context: dg.SensorEvaluationContext, connections: dg.ResourceParam[Connections]
    ) -> dg.SensorResult | dg.SkipReason:
        state = json.loads(context.cursor or "{}")
        asked_at = connections.clock()
        now = asked_at.timestamp()
        if state.get("not_before", 0) > now:
            return dg.SkipReason("Backing off after a failed pull.")
        if _active(context):
            return dg.SkipReason("A pull is queued or running.")
        failures = _failures(context, state)
        try:
            with connections.manifest() as manifest:
                paused = manifest.pauses.standing()
                going = [each for each in mappings if each.stream not in paused]
                with closing(connections.puller(manifest)) as puller:
                    marks, changed = _probe(going, puller, manifest, asked_at)
        except MigrationError as error:
            return _backed_off(str(error), failures + 1, now)
        still = _still(mappings, paused)
        unseeded = [each for each, mark in marks.items() if mark is None]
        if unseeded:
            return dg.SkipReason(
                f"No mark yet for {', '.join(unseeded)}: materialize their partitions first."
            )
        if not changed:
            said = f"No change past the marks. {still}".rstrip()
            return dg.SensorResult(skip_reason=said, cursor=_cursor(failures, 0))
        if still:
            context.log.warning(still)
        oldest = min(mark for mark in marks.values() if mark is not None) - timedelta(days=1)
        wait = _wait(failures).total_seconds() if failures else 0
        return dg.SensorResult(
            [
                incremental_request(
                    mappings, partitions, _key_for(partitions, oldest), paused=paused
                )
            ],
            cursor=_cursor(failures, now + wait if wait else 0),
        )

    return _sensor


def nightly_schedule(
    mappings: Sequence[Mapping[Any]], partitions: dg.TimeWindowPartitionsDefinition, job: Any
) -> dg.ScheduleDefinition:
    """The safety net under the sensor: one incremental pull a night, whatever it saw."""

    @dg.schedule(
        name="nightly_pull",
        job=job,
        cron_schedule="15 2 * * *",
        description="One incremental pull a night, should the sensor be off or have missed one.",
    )
    def _schedule(
        context: dg.ScheduleEvaluationContext, connections: dg.ResourceParam[Connections]
    ) -> dg.RunRequest | dg.SkipReason:
        with connections.manifest() as manifest:
            paused = manifest.pauses.standing()
            going = [each for each in mappings if each.stream not in paused]
            marks = [manifest.high_water_mark(each.stream) for each in going]
        still = _still(mappings, paused)
        if not going:
            return dg.SkipReason(still)
        if still:
            context.log.warning(still)
        known = [mark for mark in marks if mark is not None]
        if len(known) < len(marks):
            return dg.SkipReason("Some stream has no mark yet: materialize its partitions first.")
        oldest = min(known) - timedelta(days=1)
        return incremental_request(
            mappings, partitions, _key_for(partitions, oldest), paused=paused
        )

    return _schedule


def _still(mappings: Sequence[Mapping[Any]], paused: Collection[str]) -> str:
    """Which types stand still and how they go on, in a sentence; empty if none does."""
    names = [each.resource_type for each in mappings if each.stream in paused]
    if not names:
        return ""
    return f"Paused: {', '.join(names)}; `migration resume` lets them go on (see migration status)."


def _probe(
    mappings: Sequence[Mapping[Any]], puller: Puller, manifest: Manifest, asked_at: datetime
) -> tuple[dict[str, Any], list[str]]:
    """Each stream's mark, and the streams whose first page past it holds something new."""
    marks: dict[str, Any] = {}
    changed: list[str] = []
    for mapping in mappings:
        mark = marks[mapping.stream] = manifest.high_water_mark(mapping.stream)
        if mark is None:
            continue
        if _has_news(mapping.stream, puller, manifest, mark):
            changed.append(mapping.stream)
        else:
            note_current(manifest, mapping.stream, asked_at)
    return marks, changed


def _has_news(stream: str, puller: Puller, manifest: Manifest, mark: datetime) -> bool:
    """Whether anything past the mark is not on account; one request while the source is quiet.

    Rows with the mark's own change time always come again. Should they fill several pages, the
    question is no longer cheap, and a pull answers it better.
    """
    pages = puller.pages(stream, mark, None)
    for page in itertools.islice(pages, _PROBE_PAGES):
        if manifest.unseen(stream, page.rows):
            return True
    return next(pages, None) is not None


def _active(context: dg.SensorEvaluationContext) -> bool:
    wanted = dg.RunsFilter(job_name=JOB, statuses=_BUSY)
    return bool(context.instance.get_run_records(wanted, limit=1))


def _failures(context: dg.SensorEvaluationContext, state: dict[str, Any]) -> int:
    """How many pulls failed in a row, as far as the last one tells."""
    last = context.instance.get_run_records(dg.RunsFilter(job_name=JOB), limit=1)
    if last and last[0].dagster_run.status == dg.DagsterRunStatus.FAILURE:
        return int(state.get("failures", 0)) + 1
    return 0


def _backed_off(why: str, failures: int, now: float) -> dg.SensorResult:
    until = now + _wait(failures).total_seconds()
    return dg.SensorResult(skip_reason=why, cursor=_cursor(failures, until))


def _wait(failures: int) -> timedelta:
    grown: timedelta = _FIRST_BACK_OFF * 2 ** min(failures, 10)
    return min(_LONGEST_BACK_OFF, grown)


def _cursor(failures: int, not_before: float) -> str:
    return json.dumps({"failures": failures, "not_before": not_before})


def _key_for(partitions: dg.TimeWindowPartitionsDefinition, moment: Any) -> str:
    """The partition a moment falls in; the first one for what lies before it."""
    first = partitions.get_first_partition_window()
    if first is None or moment <= first.start:
        return str(partitions.get_first_partition_key())
    return str(partitions.get_partition_key_for_timestamp(moment.timestamp()))
