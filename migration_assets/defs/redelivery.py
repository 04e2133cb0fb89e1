"""Redelivering from the UI: rows that did not arrive are tried again, because a person says so.

Belongs here: the job and its config. Does not belong here: which rows may be tried again
(``redelivering``), or decisions that need a row's own key named as the right one (`migration
redeliver --believe`).
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import dagster as dg
from pydantic import Field

from migration_assets.connections import Connections
from migration_assets.defs.failing import failure
from migration_assets.errors import MigrationError, Permanent, Transient
from migration_assets.manifest import Choice, Decision, Selection
from migration_assets.mapping import Mapping
from migration_assets.operations.redelivering import redeliver
from migration_assets.pipeline import migrate
from migration_assets.run import Run

REDELIVER_JOB = "redeliver"
OP = "redeliver_rows"
"""The name run config is addressed to; a job's own name is taken."""

MAX_RUNTIME_SECONDS = 6 * 3600
"""An orphaned run must still end (dagster.md §5, F2)."""


class RedeliverConfig(dg.Config):
    """Which rows, and who says so. What is left empty does not restrict; one must be given."""

    by: str = Field(description="Who decides this; it is written down. No patient data.")
    types: list[str] = Field(
        default_factory=list, description="Rows of these FHIR types or streams."
    )
    reason: str | None = Field(
        default=None, description="Rows with this reason (see `migration exceptions`)."
    )
    keys: list[str] = Field(default_factory=list, description="Rows with these keys.")
    run: str | None = Field(
        default=None, description="Rows settled in this run: its number, or Dagster's run id."
    )
    note: str | None = Field(default=None, description="What there is to say. No patient data.")
    overwrite: bool = Field(
        default=False,
        description="Write over the edit that was found in Medplum, or what was deleted there.",
    )
    approver: str | None = Field(default=None, description="Who approved overwriting.")
    dry_run: bool = Field(default=False, description="Only say how many would be tried again.")


def redeliver_job(mappings: Sequence[Mapping[Any]]) -> dg.JobDefinition:
    """The job that makes rows debts again, and delivers them as their phases allow."""

    @dg.op(
        name=OP,
        description="Try rows again that were quarantined or rejected, in load order.",
    )
    def _redeliver(
        context: dg.OpExecutionContext,
        config: RedeliverConfig,
        connections: dg.ResourceParam[Connections],
    ) -> None:
        try:
            chosen = _selection(config, mappings)
            if config.dry_run:
                with connections.manifest() as manifest:
                    due = manifest.decisions.due(chosen).by_stream
                context.add_output_metadata(_by_type(mappings, "would_be_tried_again", due))
                return
            with connections.run(context.run.run_id) as run:
                told = _again(run, mappings, chosen, config)
            context.add_output_metadata(told)
        except Exception as error:  # noqa: BLE001 - an unexpected text may quote a row: left out
            raise failure(context, error, "Redelivering") from None

    @dg.job(
        name=REDELIVER_JOB,
        tags={"dagster/max_runtime": str(MAX_RUNTIME_SECONDS), "migration/mode": REDELIVER_JOB},
        description="Try rows again that did not arrive, after their cause was mended: by type, "
        "reason, key or run. Says in the run's metadata what became of them. The same as "
        "`migration redeliver`.",
        executor_def=dg.in_process_executor,
    )
    def _job() -> None:
        _redeliver()

    return _job


def _selection(config: RedeliverConfig, mappings: Sequence[Mapping[Any]]) -> Selection:
    """Which rows are meant; refuses what means nothing, or everything."""
    known = {each.stream: each.stream for each in mappings}
    known |= {name: each.stream for each in mappings for name in each.types}
    unknown = [name for name in config.types if name not in known]
    problem = ""
    if unknown:
        problem = f"no mapping makes {', '.join(unknown)}; there are {', '.join(known)}"
    elif not (config.keys or config.types or config.reason or config.run):
        problem = "nothing says which rows are meant: give types, reason, keys or run"
    elif not config.by.strip():
        problem = "by is empty: who decides this?"
    elif config.overwrite and not config.approver:
        problem = "overwrite decides over somebody else's record: say who approved it in approver"
    if problem:
        raise Permanent(f"Redelivering was refused before anything was changed: {problem}.")
    # A key is found by its stream: without one all units would be gone through.
    streams = [known[name] for name in config.types] or (
        list(known.values()) if config.keys else []
    )
    return Selection(
        keys=tuple(config.keys),
        streams=tuple(dict.fromkeys(streams)),
        reason=config.reason,
        run=config.run,
    )


def _again(
    run: Run, mappings: Sequence[Mapping[Any]], chosen: Selection, config: RedeliverConfig
) -> dict[str, int]:
    """Deliver stream by stream; one that cannot be does not keep the others.

    Raises:
        Transient, Permanent: what some stream met, after all were tried.
    """
    decision = Decision(
        by=config.by,
        note=config.note,
        choice=Choice.REDELIVER,
        approver=config.approver,
        overwrites=config.overwrite,
    )
    due = redeliver(run, mappings, chosen, decision)
    errors: list[MigrationError] = []
    for each in mappings:
        if each.stream in due.by_stream:
            try:
                migrate(run, each)
            except MigrationError as error:
                errors.append(error)
    if errors:
        fate = Transient if all(isinstance(each, Transient) for each in errors) else Permanent
        raise fate(" ".join(str(each) for each in errors))
    outcomes: Counter[str] = Counter()
    for (state, why), number in run.manifest.decisions.outcomes(due.ids).items():
        outcomes[f"now/{state.value}: {why}" if why else f"now/{state.value}"] += number
    held = {f"left_alone/{why}": number for why, number in due.held_at_landing.items()}
    return {**_by_type(mappings, "tried_again", due.by_stream), **outcomes, **held}


def _by_type(
    mappings: Sequence[Mapping[Any]], name: str, by_stream: dict[str, int]
) -> dict[str, int]:
    types = {each.stream: each.resource_type for each in mappings}
    counts = {f"{name}/{types.get(each, each)}": n for each, n in by_stream.items()}
    return {name: sum(by_stream.values()), **counts}
