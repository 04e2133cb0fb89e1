"""``migration cutover``: from a frozen legacy system to a retired one, a step at a time."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.text import Text

from migration_assets.cli.choosing import speaker
from migration_assets.cli.output import console, plain_table, print_json
from migration_assets.connections import Connections, mappings_of
from migration_assets.cutting_over import desk, mapping_named, plan_of
from migration_assets.demo.on_demand import before_use
from migration_assets.errors import Permanent
from migration_assets.manifest import Manifest
from migration_assets.manifest.cutovers import Cutover, Look
from migration_assets.mapping import Mapping
from migration_assets.settings import read_settings
from migration_assets.switching.cutover.desk import Desk, Word
from migration_assets.switching.cutover.plan import (
    ABOUT,
    AFTERWARDS,
    ROLLBACK,
    TRIGGERS,
    Came,
    CutoverStep,
    End,
    Plan,
    Seen,
)
from migration_assets.switching.cutover.progress import StepStands
from migration_assets.switching.cutover.runbook import abort as abort_cutover
from migration_assets.switching.cutover.runbook import advance, back, begin, stands

_MARKS = {
    Came.DONE: ("✓ done", "green"),
    Came.WAITS: ("… waits", "yellow"),
    Came.ALARM: ("! ALARM", "bold red"),
    Came.BROKEN: ("✗ broken", "red"),
    Came.FAILED: ("✗ failed", "red"),
}
_LOOKED_THROUGH = 500
_NEEDS_A_PERSON = frozenset({Came.ALARM, Came.BROKEN, Came.FAILED})


def cutover(  # noqa: PLR0913, PLR0917 - a command has its options
    resource_type: Annotated[
        str | None, typer.Argument(metavar="[TYPE]", help="The FHIR type to cut over.")
    ] = None,
    cohort: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Only this cohort of it, as adoption.toml names it."),
    ] = None,
    status: Annotated[bool, typer.Option("--status", help="Only show where it stands.")] = False,  # noqa: FBT002 - typer's way
    owner: Annotated[
        str | None, typer.Option(help="Who decides about a rollback; to begin one.")
    ] = None,
    approved_by: Annotated[
        str | None, typer.Option("--approved-by", help="Who signs that all is proved.")
    ] = None,
    abort: Annotated[bool, typer.Option("--abort", help="End it before the flip.")] = False,  # noqa: FBT002
    rollback: Annotated[  # noqa: FBT002
        bool, typer.Option("--rollback", help="Go back after the flip.")
    ] = False,
    force: Annotated[  # noqa: FBT002
        bool,
        typer.Option("--force", help="Past a shut gate, an alarm, or what cannot be taken back."),
    ] = False,
    reason: Annotated[
        str | None, typer.Option(help="Why; kept. Needed to abort, roll back, force.")
    ] = None,
    by: Annotated[str | None, typer.Option(help="Who does it; default: you.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,  # noqa: FBT002
) -> None:
    """Cut a type over: freeze, drain, final delta, verify, flip, observe, retire.

    Begins one with --owner, and goes on as far as it can; where it must wait it says for what, and
    ends. Run it again then. Of a type with cohorts, without --cohort that is cut over which is in
    none. Exit 1: a person must decide.
    """
    settings = read_settings()
    connections = Connections(settings, before_use=before_use)
    mappings = tuple(mappings_of(settings).values())
    if resource_type is None or status:
        named = resource_type and mapping_named(mappings, resource_type).resource_type
        with connections.manifest() as manifest:
            show(manifest, _known(manifest, named, cohort), as_json=as_json)
        return
    if force and not (reason or "").strip():
        raise Permanent('What is forced needs a reason, which is kept: --reason "…".')
    mapping = mapping_named(mappings, resource_type)
    word = Word(by=speaker(by), reason=reason, forced=force, approved_by=approved_by)
    with desk(connections, mappings, "migration cutover") as opened:
        plan = None if abort or rollback else plan_of(settings, owner=owner or "")
        current = _current(opened, mapping, cohort, plan, word)
        if abort:
            abort_cutover(opened, mapping, current, word)
            seen = None
        elif rollback:
            seen = back(opened, mapping, current, word)
        else:
            seen = _advance(opened, mapping, current, word, quiet=as_json)
        now = opened.manifest.cutovers.get(current.id)
        show(opened.manifest, [now] if now else [], as_json=as_json)
    stays = rollback and seen is not None and seen.came is not Came.DONE
    if stays or (seen is not None and seen.came in _NEEDS_A_PERSON):
        raise typer.Exit(1)


def _current(
    opened: Desk, mapping: Mapping[Any], cohort: str | None, plan: Plan | None, word: Word
) -> Cutover:
    """The cutover under way; a new one by this plan where there is none and it is to go on."""
    kind = mapping.resource_type
    found = [e for e in opened.manifest.cutovers.under_way(kind) if e.cohort == cohort]
    if found:
        return found[0]
    if plan is None:
        part = kind if cohort is None else f"{kind}, cohort {cohort}"
        raise Permanent(f"No cutover of {part} is under way.")
    return begin(opened, mapping, plan, by=word.by, cohort=cohort)


def _advance(
    opened: Desk, mapping: Mapping[Any], current: Cutover, word: Word, *, quiet: bool
) -> Seen | None:
    """As far as it goes, each step told as it ends; the last one."""
    last: Seen | None = None
    for step, seen in advance(opened, mapping, current, word):
        last = seen
        if not quiet:
            console().print(told(step, seen))
    return last


def told(step: CutoverStep, seen: Seen) -> Text:
    """One look as a line."""
    mark, style = _MARKS[seen.came]
    return Text.assemble((f"{mark:<10}", style), f"{step:<12}", seen.said)


def _known(manifest: Manifest, resource_type: str | None, cohort: str | None) -> list[Cutover]:
    """Those under way; of one type the last of each of its parts, or of one cohort."""
    if resource_type is None:
        return manifest.cutovers.under_way() or manifest.cutovers.latest(limit=1)
    last: dict[str | None, Cutover] = {}
    for each in manifest.cutovers.latest(resource_type, limit=_LOOKED_THROUGH):
        last.setdefault(each.cohort, each)
    return [each for name, each in last.items() if cohort in (None, name)]


def show(manifest: Manifest, found: Sequence[Cutover], *, as_json: bool) -> None:
    """Where cutovers stand, step by step."""
    if as_json:
        print_json({"cutovers": [_plain(manifest, each) for each in found]})
        return
    if not found:
        console().print("No cutover was begun: `migration cutover TYPE --owner …` begins one.")
    for each in found:
        _print(manifest, each)


def _print(manifest: Manifest, current: Cutover) -> None:
    out, plan = console(), Plan.read(current.plan)
    table = plain_table(f"Cutover {current.id} of {current.name}, {_ended(current)}")
    for name in ("step", "stands", "looks", "since"):
        table.add_column(name, no_wrap=True)
    table.add_column("what was found, what is waited for", overflow="fold")
    looks = manifest.cutovers.looks(current.id)
    for each in stands(manifest, current).steps:
        table.add_row(*_line(each, current))
    backs = [each for each in looks if each.step == ROLLBACK]
    if backs:
        table.add_row(
            ROLLBACK,
            _stands(backs[-1]),
            str(len(backs)),
            _minute(backs[0].began_at),
            backs[-1].said,
        )
    out.print(table)
    triggers = "; ".join(TRIGGERS[each] for each in plan.triggers)
    begun = f"Begun {_minute(current.began_at)} by {current.by}."
    out.print(f"{begun} About a rollback decides {plan.owner}. What calls for it: {triggers}.")
    when = "when the rest of the type is retired, too" if plan.part else "then"
    for said in AFTERWARDS if current.outcome == End.RETIRED else ():
        out.print(f"  {when}: {said}", markup=False)


def _line(each: StepStands, current: Cutover) -> tuple[str | Text, ...]:
    last = each.last
    if last is None:
        return (each.step, Text("·", style="dim"), "", "", Text(ABOUT[each.step], style="dim"))
    since = each.waits_since if not each.over else last.ended_at
    said = last.said if each.over or current.ended_at is None else f"(ended) {last.said}"
    return (each.step, _stands(last), str(len(each.looks)), _minute(since), Text(said))


def _stands(look: Look) -> Text:
    mark, style = _MARKS[Came(look.outcome or Came.FAILED)]
    return Text(mark, style=style)


def _ended(current: Cutover) -> str:
    if current.ended_at is None:
        return "under way"
    why = f": {current.reason}" if current.reason else ""
    word = (current.outcome or "ended").replace("_", " ")
    return f"{word} {_minute(current.ended_at)} by {current.ended_by}{why}"


def _minute(moment: datetime | None) -> str:
    return f"{moment:%m-%d %H:%M}" if moment else ""


def _plain(manifest: Manifest, current: Cutover) -> dict[str, Any]:
    where = stands(manifest, current)
    return {
        "number": current.id,
        "type": current.resource_type,
        "cohort": current.cohort,
        "began": current.began_at.isoformat(),
        "by": current.by,
        "plan": dict(current.plan),
        "ended": current.ended_at and current.ended_at.isoformat(),
        "outcome": current.outcome,
        "reason": current.reason,
        "due": where.due,
        "steps": [
            {
                "step": each.step,
                "over": each.over,
                "looks": len(each.looks),
                "waits_since": each.waits_since and each.waits_since.isoformat(),
                "came": each.last and each.last.outcome,
                "said": each.last and each.last.said,
                "evidence": dict(each.last.evidence) if each.last else {},
            }
            for each in where.steps
        ],
        "rollback": [
            {"came": each.outcome, "said": each.said, "evidence": dict(each.evidence)}
            for each in manifest.cutovers.looks(current.id)
            if each.step == ROLLBACK
        ],
    }
