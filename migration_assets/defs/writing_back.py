"""Write-back in Dagster: the job, the schedule that starts it, and the check of what waits.

Belongs here: when changes made in Medplum are brought back. Does not belong here: how
(``operations.writing_back``). Counts and reasons only.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import dagster as dg

from migration_assets.adoption import Phase
from migration_assets.connections import Connections
from migration_assets.defs.failing import failure, shown_safely
from migration_assets.defs.keys import asset_key
from migration_assets.defs.under_way import UNFINISHED
from migration_assets.errors import MigrationError, Permanent, Transient
from migration_assets.manifest import Manifest
from migration_assets.manifest.write_back_ends import WriteBack
from migration_assets.mapping import Mapping
from migration_assets.operations.seeing_changes import written_back_before
from migration_assets.operations.writing_back import Parts, WrittenBack, hindrance, write_back
from migration_assets.run import Run

WRITE_BACK_JOB = "write_back"
NOTHING_WAITS = "nothing_waits_to_be_written_back"
MAX_RUNTIME_SECONDS = 3600
"""An orphaned run must still end (dagster.md §5, F2)."""
_WAITS = (WriteBack.OPEN, WriteBack.CONFLICT, WriteBack.REFUSED)


def write_back_job(mappings: Sequence[Mapping[Any]]) -> dg.JobDefinition:
    """The job that writes back every type that Medplum owns."""

    @dg.op(
        name="bring_back",
        description="Bring what was changed in Medplum to the legacy system; counts only.",
    )
    def _bring_back(
        context: dg.OpExecutionContext, connections: dg.ResourceParam[Connections]
    ) -> None:
        try:
            with connections.run(context.run.run_id) as run:
                told, errors = _all_back(connections, run, mappings)
            context.add_output_metadata(told)
            if errors:
                fate = Transient if all(isinstance(e, Transient) for e in errors) else Permanent
                raise fate(" ".join(str(each) for each in errors))  # noqa: TRY301 - one way out
        except Exception as error:  # noqa: BLE001 - an unexpected text may quote a row: left out
            raise failure(context, error, "Writing back") from None

    @dg.job(
        name=WRITE_BACK_JOB,
        tags={"dagster/max_runtime": str(MAX_RUNTIME_SECONDS), "migration/mode": WRITE_BACK_JOB},
        description="Bring what was changed in Medplum after the flip to the legacy system. The "
        "same as `migration write-back`.",
        executor_def=dg.in_process_executor,
    )
    def _job() -> None:
        _bring_back()

    return _job


def _all_back(
    connections: Connections, run: Run, mappings: Sequence[Mapping[Any]]
) -> tuple[dict[str, int], list[MigrationError]]:
    """Type by type; one that cannot be written back does not keep the others."""
    if run.fhir is None:
        raise Permanent("Write-back asks Medplum: set MEDPLUM_BASE_URL and the client.")
    told: dict[str, int] = {}
    errors: list[MigrationError] = []
    with closing(connections.puller(run.manifest)) as legacy:
        parts = Parts(
            manifest=run.manifest,
            fhir=run.fhir,
            adoption=run.adoption,
            legacy=legacy,
            run_id=run.id,
            deadline_seconds=run.deadline_seconds,
        )
        for each in mappings:
            if not hindrance(parts, each):
                try:
                    told |= _counts(each, write_back(parts, each))
                except MigrationError as error:
                    errors.append(error)
    return told, errors


def _counts(mapping: Mapping[Any], done: WrittenBack) -> dict[str, int]:
    kind = mapping.resource_type
    ended = {f"{kind}/{state.value}": done.ended[state] for state in WriteBack}
    return {f"{kind}/noted": done.noted, **ended, f"{kind}/waiting": done.open}


def write_back_schedule(
    mappings: Sequence[Mapping[Any]], job: dg.JobDefinition
) -> dg.ScheduleDefinition:
    """Every five minutes while Medplum owns a type; off until somebody turns it on."""

    @dg.schedule(
        name="write_back_watch",
        job=job,
        cron_schedule="*/5 * * * *",
        description="Brings what was changed in Medplum back, while a type is in phase write; "
        "never beside a run of its own.",
    )
    def _schedule(
        context: dg.ScheduleEvaluationContext, connections: dg.ResourceParam[Connections]
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        with shown_safely("Planning a write-back"):
            owned = [
                each.resource_type
                for each in mappings
                if each.reverse is not None and _phase(connections, each) is Phase.WRITE
            ]
            under_way = context.instance.get_runs_count(
                dg.RunsFilter(job_name=WRITE_BACK_JOB, statuses=list(UNFINISHED))
            )
            if owned and not under_way:
                yield dg.RunRequest()
            else:
                yield dg.SkipReason(
                    "The last one is still under way." if owned else "No type is in phase write."
                )

    return _schedule


def write_back_check(mapping: Mapping[Any]) -> dg.AssetChecksDefinition:
    """Whether anything that was changed in Medplum waits for a person, or for the legacy system."""

    @dg.asset_check(
        asset=asset_key(mapping.resource_type),
        name=NOTHING_WAITS,
        description="Every change made in Medplum after the flip is in the legacy system, or "
        "somebody decided that it need not be.",
    )
    def _check(connections: dg.ResourceParam[Connections]) -> dg.AssetCheckResult:
        with shown_safely("Counting what waits to be written back"), connections.manifest() as m:
            counts = _totals(m, mapping)
            looked = written_back_before(m, mapping.resource_type)
        waiting = sum(counts[each.value] for each in _WAITS)
        if not looked:
            return dg.AssetCheckResult(
                passed=False,
                severity=dg.AssetCheckSeverity.WARN,
                description="Nothing is claimed: changes in Medplum were never looked for.",
            )
        return dg.AssetCheckResult(
            passed=not waiting,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"{waiting} of {sum(counts.values())} changes wait."
            if waiting
            else f"All {sum(counts.values())} changes are settled.",
            metadata={
                **counts,
                "seen": sum(counts.values()),
                "recovery": "migration write-back" if waiting else "none needed",
            },
        )

    return _check


def _totals(manifest: Manifest, mapping: Mapping[Any]) -> dict[str, int]:
    counts = manifest.write_backs.counts(mapping.types)
    return {state.value: sum(each.get(state, 0) for each in counts.values()) for state in WriteBack}


def _phase(connections: Connections, mapping: Mapping[Any]) -> Phase:
    return connections.adoption().standing(mapping.resource_type).phase
