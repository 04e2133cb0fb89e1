"""Cutovers in Dagster: a job with an op a step, and the schedule that goes on with what is begun.

Belongs here: how far a run gets, and what it shows. Does not belong here: the steps
(``switching.cutover``). A run that must wait ends well, with the reason in the metadata of the op
where it waits, and the ops behind it are skipped. An alarm fails its run: whoever is told of failed
runs hears of it.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg
from pydantic import Field

from migration_assets.connections import Connections
from migration_assets.cutting_over import desk, mapping_named, plan_of
from migration_assets.defs.failing import failure, shown_safely
from migration_assets.defs.under_way import UNFINISHED
from migration_assets.errors import Busy, MigrationError, Permanent, Transient
from migration_assets.manifest.cutovers import Cutover
from migration_assets.mapping import Mapping
from migration_assets.switching.cutover.desk import Desk, Word
from migration_assets.switching.cutover.plan import ABOUT, Came, CutoverStep, Plan
from migration_assets.switching.cutover.progress import worth_looking
from migration_assets.switching.cutover.runbook import advance, begin, stands

CUTOVER_JOB = "cutover"
MODE_TAG = "migration/mode"
MAX_RUNTIME_SECONDS = 12 * 3600
"""A comparison of ten million resources and a sweep; an orphaned run must still end."""
_STEPS = tuple(CutoverStep)


class CutoverConfig(dg.Config):
    """What goes on, and on whose word."""

    by: str = Field(description="Who does it; it is written down. No patient data.")
    types: list[str] = Field(
        default_factory=list, description="FHIR types; empty: every cutover that is under way."
    )
    cohort: str = Field(
        default="",
        description="Only this cohort of the types; empty: that which is in none, or all.",
    )
    numbers: list[int] = Field(
        default_factory=list, description="Cutovers under way, instead of types."
    )
    owner: str = Field(
        default="",
        description="Begin a cutover of these types; this person decides about a rollback.",
    )
    approved_by: str = Field(default="", description="Who signs that all is proved.")
    reason: str = Field(default="", description="Why it is forced; kept. Needed by force.")
    force: bool = Field(
        default=False, description="Past a shut gate or an alarm, at the step where it stands."
    )


def cutover_job(mappings: Sequence[Mapping[Any]]) -> dg.JobDefinition:
    """The job that goes on with cutovers as far as they can."""
    steps = [_step(each, mappings) for each in _STEPS[1:]]
    first = _first(mappings)

    @dg.job(
        name=CUTOVER_JOB,
        tags={"dagster/max_runtime": str(MAX_RUNTIME_SECONDS), MODE_TAG: CUTOVER_JOB},
        description="Go on with cutovers: freeze, drain, final delta, verify, flip, observe, "
        "retire. A run that has to wait ends well and says for what. The same as `migration "
        "cutover`.",
        executor_def=dg.in_process_executor,
    )
    def _job() -> None:
        going = first().going
        for each in steps:
            going = each(going).going

    return _job


def _outs() -> dict[str, dg.Out]:
    return {"found": dg.Out(), "going": dg.Out(is_required=False)}


def _first(mappings: Sequence[Mapping[Any]]) -> dg.OpDefinition:
    @dg.op(name=CutoverStep.FREEZE.value, out=_outs(), description=ABOUT[CutoverStep.FREEZE])
    def _freeze(
        context: dg.OpExecutionContext,
        config: CutoverConfig,
        connections: dg.ResourceParam[Connections],
    ) -> Iterator[dg.Output[Any]]:
        try:
            going = _begun(context, config, connections, mappings)
            yield from _looked(context, connections, mappings, CutoverStep.FREEZE, going)
        except Exception as error:  # noqa: BLE001 - an unexpected text may quote a row: left out
            raise failure(context, error, "A cutover") from None

    return _freeze


def _step(step: CutoverStep, mappings: Sequence[Mapping[Any]]) -> dg.OpDefinition:
    last = step is _STEPS[-1]

    @dg.op(
        name=step.value,
        ins={"going": dg.In()},
        out=_outs(),
        description=ABOUT[step] + ("" if not last else "; the last step"),
    )
    def _op(
        context: dg.OpExecutionContext,
        going: dict[str, Any],
        connections: dg.ResourceParam[Connections],
    ) -> Iterator[dg.Output[Any]]:
        try:
            yield from _looked(context, connections, mappings, step, going)
        except Exception as error:  # noqa: BLE001 - an unexpected text may quote a row: left out
            raise failure(context, error, "A cutover") from None

    return _op


def _begun(
    context: dg.OpExecutionContext,
    config: CutoverConfig,
    connections: Connections,
    mappings: Sequence[Mapping[Any]],
) -> dict[str, Any]:
    """What the steps are handed: which cutovers, and whose word it is; new ones are begun."""
    if not config.by.strip():
        raise Permanent("A cutover was refused before anything was changed: by is empty.")
    if config.force and not config.reason.strip():
        raise Permanent("What is forced needs a reason, which is kept.")
    chosen = [mapping_named(mappings, each) for each in config.types]
    cohort, plan = config.cohort or None, plan_of(connections.settings, owner=config.owner)
    if cohort is not None and not chosen:
        raise Permanent("A cohort is one of a type: name it in types.")
    with desk(connections, mappings, context.run.run_id) as opened:
        known = opened.manifest.cutovers.under_way()
        parts = {(each.resource_type, each.cohort): each for each in known}
        begun = [
            parts.get((each.resource_type, cohort))
            or begin(opened, each, plan, by=config.by, cohort=cohort)
            for each in (() if config.numbers else chosen)
        ]
    numbers = config.numbers or [each.id for each in (begun if chosen else known)]
    return {
        "cutovers": numbers,
        "by": config.by,
        "approved_by": config.approved_by or None,
        "reason": config.reason or None,
        "force": config.force,
    }


def _looked(
    context: dg.OpExecutionContext,
    connections: Connections,
    mappings: Sequence[Mapping[Any]],
    step: CutoverStep,
    going: dict[str, Any],
) -> Iterator[dg.Output[Any]]:
    """Look at one step of every cutover that came so far; those that are past it go on."""
    said: dict[str, str] = {}
    past: list[int] = []
    errors: list[MigrationError] = []
    forces = going["force"]
    with desk(connections, mappings, context.run.run_id) as opened:
        for number in going["cutovers"]:
            current = opened.manifest.cutovers.get(number)
            if current is None:
                continue
            name = current.name
            try:
                came, said[name] = _one(opened, mappings, current, step, going)
            except MigrationError as error:
                errors.append(error)
                continue
            forces = forces and came is None
            if came is Came.ALARM:
                errors.append(Permanent(f"{name}: {said[name]}"))
            elif _is_past(opened, number, step):
                past.append(number)
            context.log.info("%s, %s: %s", name, step.value, said[name])
    if errors:
        fate = Transient if all(isinstance(each, Transient) for each in errors) else Permanent
        raise fate(" ".join(str(each) for each in errors))
    yield dg.Output(sorted(said), "found", metadata=dict(said) or {"nothing": "is under way"})
    if past:
        yield dg.Output({**going, "cutovers": past, "force": forces}, "going")


def _one(
    opened: Desk,
    mappings: Sequence[Mapping[Any]],
    current: Cutover,
    step: CutoverStep,
    going: dict[str, Any],
) -> tuple[Came | None, str]:
    """What one cutover's look came to, None where none was due; and what is said of it."""
    if current.ended_at is not None:
        return None, "no cutover is under way"
    mapping = mapping_named(mappings, current.resource_type)
    word = Word(
        by=going["by"],
        reason=going["reason"],
        forced=going["force"],
        approved_by=going["approved_by"],
    )
    try:
        found = list(advance(opened, mapping, current, word, only=step))
    except Busy as busy:
        return Came.WAITS, str(busy)
    if not found:
        return None, "over" if _is_past(opened, current.id, step) else "not reached"
    seen = found[-1][1]
    return seen.came, f"{seen.came}: {seen.said}"


def _is_past(opened: Desk, number: int, step: CutoverStep) -> bool:
    current = opened.manifest.cutovers.get(number)
    if current is None or current.ended_at is not None:
        return False
    due = stands(opened.manifest, current).due
    return due is None or _STEPS.index(due) > _STEPS.index(step)


def cutover_schedule(job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """Goes on with what is under way; off until somebody turns it on."""

    @dg.schedule(
        name="cutover_watch",
        job=job,
        cron_schedule="*/10 * * * *",
        description="Goes on with the cutovers under way, every ten minutes, where a look would "
        "tell something; never beside a run of the job. It begins none and signs nothing.",
    )
    def _schedule(
        context: dg.ScheduleEvaluationContext, connections: dg.ResourceParam[Connections]
    ) -> dg.RunRequest | dg.SkipReason:
        with shown_safely("Looking for cutovers under way"):
            return watched(context.instance, connections)

    return _schedule


def watched(
    instance: dg.DagsterInstance, connections: Connections
) -> dg.RunRequest | dg.SkipReason:
    """A run for the cutovers at which a look would tell something; none beside another run."""
    active = dg.RunsFilter(job_name=CUTOVER_JOB, statuses=list(UNFINISHED))
    if instance.get_runs_count(active):
        return dg.SkipReason("A run of the job is under way.")
    due: list[Cutover] = []
    waiting: list[str] = []
    with connections.manifest() as manifest:
        for each in manifest.cutovers.under_way():
            standing = stands(manifest, each)
            if worth_looking(standing, Plan.read(each.plan), connections.clock()):
                due.append(each)
            else:
                waiting.append(f"{each.name} stands at {standing.due}")
    if not due:
        return dg.SkipReason("; ".join(waiting) or "No cutover is under way.")
    config = {
        "by": "cutover_watch",
        "types": sorted({each.resource_type for each in due}),
        "numbers": [each.id for each in due],
    }
    return dg.RunRequest(run_config={"ops": {CutoverStep.FREEZE.value: {"config": config}}})
