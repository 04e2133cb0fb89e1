"""``migration undo RUN``: make what a run wrote to Medplum what it was before."""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.table import Table

from migration_assets.cli.output import console, plain_table, print_json
from migration_assets.connections import PIPELINE_VERSION, Connections, mappings_of
from migration_assets.counting import several, verb
from migration_assets.demo.on_demand import before_use
from migration_assets.errors import Permanent
from migration_assets.manifest import Manifest
from migration_assets.manifest.history import UNDOES, RunWrote
from migration_assets.operations.undoing import LATER_RUN, Desk, Undone
from migration_assets.operations.undoing import undo as undo_runs
from migration_assets.settings import read_settings

_SHOWN = 20
_WORDS = {
    "undone-created": "deleted again",
    "undone-changed": "back to the version before",
    "undone-deleted": "brought back",
}
_REFUSALS = {
    "edited-in-medplum": "edited in Medplum since: decide there",
    "deleted-in-medplum": "deleted in Medplum since: decide there",
    "referred-to": "a resource that stays refers to it: undo that first",
    "identifier-taken": "another resource has its identifier now",
    "not-in-history": "Medplum no longer keeps the version before",
}


def undo(
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="A run's number, or a Dagster run id.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only say what.")] = False,  # noqa: FBT002 - typer's way
    show: Annotated[bool, typer.Option("--list", help="Show runs and what each wrote.")] = False,  # noqa: FBT002
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,  # noqa: FBT002
) -> None:
    """Restore what a run wrote: created is deleted, changed and deleted is as it was before.

    Says what it would do; --yes does it. What was edited in Medplum or written by a later run
    since is left alone. Undone rows are quarantined until they are redelivered. Exit 1: something
    was left alone or is still open.
    """
    connections = Connections(read_settings(), before_use=before_use)
    with connections.manifest() as manifest:
        if show or run is None:
            _show_runs(manifest.history.latest_runs(_SHOWN), as_json=as_json)
            return
        undone = _undo(connections, manifest, run, act=yes)
    if as_json:
        print_json(_plain(undone, act=yes))
    else:
        _print(undone, act=yes)
    if undone.refused or undone.open:
        raise typer.Exit(1)


def _undo(connections: Connections, manifest: Manifest, name: str, *, act: bool) -> Undone:
    wanted = manifest.history.runs_called(name)
    if not wanted:
        raise Permanent(f"No run is called {name}. `migration undo --list` shows those there are.")
    if name.startswith("migration "):
        raise Permanent("A command's name is not one run: give its number (migration undo --list).")
    fhir = connections.medplum(manifest)
    if fhir is None:
        raise Permanent(
            "Undoing asks and writes Medplum: set MEDPLUM_BASE_URL, MEDPLUM_CLIENT_ID and "
            "MEDPLUM_CLIENT_SECRET."
        )
    settings = connections.settings
    run_id = None
    if act:
        run_id = manifest.start_run(f"migration undo {name}", pipeline_version=PIPELINE_VERSION)
    desk = Desk(
        manifest=manifest,
        fhir=fhir,
        adoption=connections.adoption(),
        mappings=mappings_of(settings),
        deadline_seconds=settings.deadline_seconds,
        run_id=run_id,
    )
    undone = undo_runs(desk, wanted)
    if run_id is not None:
        manifest.finish_run(run_id)
    return undone


def _plain(undone: Undone, *, act: bool) -> dict[str, Any]:
    return {
        "done": act,
        "units": undone.units,
        "resources": [
            {"type": kind, "event": event, "count": number}
            for (kind, event), number in sorted(undone.resources.items())
        ],
        "already_as_before": undone.already,
        "open": undone.open,
        "refused": [
            {"type": kind, "reason": reason, "units": each.units, "keys": each.keys}
            for (kind, reason), each in sorted(undone.refused.items())
        ],
    }


def _print(undone: Undone, *, act: bool) -> None:
    out = console()
    table = plain_table("Undone" if act else "What undoing would do")
    table.add_column("type", no_wrap=True)
    for name in _WORDS.values():
        table.add_column(name, justify="right")
    for kind in sorted({kind for kind, _event in undone.resources}):
        numbers = (undone.resources[kind, event] for event in _WORDS)
        table.add_row(kind, *(f"{each:,}" if each else "·" for each in numbers))
    if undone.resources:
        out.print(table)
    elif not undone.refused:
        out.print("Nothing of this run stands: it wrote nothing, or all of it is undone.")
    if undone.refused:
        out.print(_refusals(undone))
    if undone.already:
        out.print(f"{undone.already:,} of them are in Medplum as they were before already.")
    if undone.open:
        out.print(
            f"{several(undone.open, 'unit is', 'units are')} open, and held as undone meanwhile: "
            "run it again."
        )
    if not act and undone.resources:
        out.print("Nothing was written. Add --yes to do it.")
    elif act and undone.units:
        out.print(
            f"{several(undone.units, 'row is', 'rows are')} quarantined as undone: no pull writes "
            f"{verb(undone.units, 'it again until it is', 'them again until they are')} "
            "redelivered."
        )


def _refusals(undone: Undone) -> Table:
    table = plain_table("Left alone, with all that belongs to the row")
    for name in ("type", "why"):
        table.add_column(name, overflow="fold")
    table.add_column("rows", justify="right")
    table.add_column("for example", overflow="fold")
    for (kind, reason), each in sorted(undone.refused.items()):
        later = reason.removeprefix(LATER_RUN)
        why = f"written again by run {later}: undo that first" if later != reason else ""
        table.add_row(
            kind, why or _REFUSALS.get(reason, reason), f"{each.units:,}", ", ".join(each.keys)
        )
    return table


def _show_runs(found: Sequence[RunWrote], *, as_json: bool) -> None:
    if as_json:
        print_json(
            [
                {
                    "run": each.id,
                    "label": each.label,
                    "started": each.started_at.isoformat(),
                    "finished": each.finished_at and each.finished_at.isoformat(),
                    "wrote": [
                        {"type": kind, "event": event, "count": number}
                        for kind, event, number in each.wrote
                    ],
                }
                for each in found
            ]
        )
        return
    if not found:
        console().print("No run has written anything yet.")
        return
    table = plain_table("Runs that wrote to Medplum, the latest first")
    for name in ("run", "started", "type"):
        table.add_column(name, no_wrap=True)
    for name in ("created", "changed", "deleted", "undone"):
        table.add_column(name, justify="right")
    table.add_column("label", overflow="fold")
    for each in found:
        for kind, counts in _by_type(each).items():
            numbers = (counts[name] for name in ("created", "changed", "deleted", "undone"))
            table.add_row(
                str(each.id),
                f"{each.started_at:%Y-%m-%d %H:%M}",
                kind,
                *(f"{number:,}" if number else "·" for number in numbers),
                each.label,
            )
    console().print(table)


def _by_type(run: RunWrote) -> dict[str, Counter[str]]:
    """Counts by type; a write over an edit, and one whose answer was lost, are changes."""
    counts: dict[str, Counter[str]] = {}
    for kind, event, number in run.wrote:
        name = event if event in ("created", "deleted") else "changed"
        counts.setdefault(kind, Counter())["undone" if event in UNDOES else name] += number
    return counts
