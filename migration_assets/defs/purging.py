"""Retention: the job that drops rows whose time is over, and the weekly schedule that starts it.

Belongs here: when a purge runs in Dagster. Does not belong here: what it drops (``purging``).
"""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from migration_assets.connections import Connections
from migration_assets.errors import MigrationError
from migration_assets.mapping import Mapping
from migration_assets.operations.purging import purge, rows_needed

PURGE_JOB = "retention_purge"
MAX_RUNTIME_SECONDS = 6 * 3600
"""An orphaned run must still end (dagster.md §5, F2)."""


def purge_job(mappings: Sequence[Mapping[Any]]) -> dg.JobDefinition:
    """The job that does what ``MIGRATION_RETENTION`` says, and nothing while that is forever."""

    @dg.op(name="purge", description="Drop landed rows that retention lets go of; counts only.")
    def _purge(context: dg.OpExecutionContext, connections: dg.ResourceParam[Connections]) -> None:
        try:
            with connections.manifest() as manifest:
                purged = purge(
                    manifest,
                    connections.settings.policy,
                    connections.clock(),
                    by=PURGE_JOB,
                    keep_living=rows_needed(mappings),
                )
        except MigrationError as error:
            raise dg.Failure(description=str(error)) from None
        except Exception as error:  # noqa: BLE001 - its text may quote a row: only its kind goes on
            raise dg.Failure(
                description=f"Purging met an unexpected {type(error).__name__}; what it says is "
                "left out, it may name a patient. What was dropped is on account: run it again."
            ) from None
        context.add_output_metadata({f"purged/{name}": n for name, n in purged.rows.items()})
        context.log.info("%d rows purged", purged.total)

    @dg.job(
        name=PURGE_JOB,
        tags={"dagster/max_runtime": str(MAX_RUNTIME_SECONDS)},
        description="Drop landed rows whose outcome is final, as MIGRATION_RETENTION says.",
        executor_def=dg.in_process_executor,
    )
    def _job() -> None:
        _purge()

    return _job


def purge_schedule(job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """Once a week; off until somebody turns it on."""
    return dg.ScheduleDefinition(
        name="weekly_purge",
        job=job,
        cron_schedule="20 4 * * 0",
        description="Drops, once a week, what retention lets go of.",
    )
