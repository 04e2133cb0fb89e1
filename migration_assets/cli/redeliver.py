"""``migration redeliver``: units that did not arrive are tried again."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from migration_assets.cli.choosing import (
    Streams,
    refuse_everything,
    selection,
    speaker,
    streams,
)
from migration_assets.cli.output import console, print_json
from migration_assets.connections import Connections
from migration_assets.demo.on_demand import before_use
from migration_assets.errors import MigrationError, Permanent
from migration_assets.manifest import Choice, Decision, Manifest, Redelivered, Selection
from migration_assets.mapping import Mapping
from migration_assets.operations.redelivering import redeliver as make_due
from migration_assets.pipeline import migrate
from migration_assets.run import Run
from migration_assets.settings import read_settings
from migration_assets.steps.pausing import refuse_paused


@dataclass(frozen=True)
class _Done:
    """What a redelivery came to; ``outcomes`` are by state and reason."""

    due: dict[str, int]
    held_at_landing: dict[str, int] = field(default_factory=dict)
    superseded: tuple[str, ...] = ()
    outcomes: dict[str, int] = field(default_factory=dict)
    errors: tuple[str, ...] = ()


def redeliver(  # noqa: PLR0913, PLR0917 - a verb's options
    keys: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY]...", help="Keys of units.")
    ] = None,
    types: Annotated[
        list[str] | None, typer.Option("--type", help="Units of this FHIR type or stream.")
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Units with this reason.")] = None,
    run: Annotated[
        str | None, typer.Option(help="Units settled in this run (number or label).")
    ] = None,
    overwrite: Annotated[  # noqa: FBT002 - typer's way
        bool, typer.Option(help="Write over the edit that was found, or what was deleted.")
    ] = False,
    believe: Annotated[
        str | None, typer.Option(metavar="KEY", help="Of rows with one key, this one is right.")
    ] = None,
    approver: Annotated[str | None, typer.Option(help="Who approved it.")] = None,
    note: Annotated[str | None, typer.Option(help="What there is to say. No patient data.")] = None,
    by: Annotated[str | None, typer.Option(help="Who says so; default: you.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be.")] = False,  # noqa: FBT002
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,  # noqa: FBT002
) -> None:
    """Try units again that did not arrive, and deliver them if the phase allows it.

    --overwrite and --believe need an approver: they decide over somebody else's record. Exit 1:
    nothing could be tried, or Medplum did not take it.
    """
    if (overwrite or believe) and not approver:
        raise Permanent("--overwrite and --believe need --approver: who decided that?")
    known = streams(settings := read_settings(), sent=True)
    chosen = selection(known, keys=keys, types=types, reason=reason, run=run)
    said = Decision(
        by=speaker(by), note=note, choice=Choice.REDELIVER, approver=approver, overwrites=overwrite
    )
    connections = Connections(settings, before_use=before_use)
    if believe is None:
        refuse_everything(chosen)
        done = _again(connections, known, chosen, said, dry_run=dry_run)
    else:
        if keys or reason or run:
            raise Permanent("--believe names the row itself: leave keys, --reason and --run out.")
        done = _believe(connections, known, types or [], believe, said, dry_run=dry_run)
    _print(done, known, dry_run=dry_run, as_json=as_json)
    if done.errors or not done.due:
        raise typer.Exit(1)


def _again(
    connections: Connections, known: Streams, chosen: Selection, said: Decision, *, dry_run: bool
) -> _Done:
    if dry_run:
        with connections.manifest() as manifest:
            due = manifest.decisions.due(chosen)
        return _Done(due.by_stream, due.held_at_landing)
    with connections.run("migration redeliver") as run:
        due = make_due(run, known.mappings, chosen, said)
        return _delivered(run, known, due)


def _believe(
    connections: Connections,
    known: Streams,
    types: Sequence[str],
    key: str,
    said: Decision,
    *,
    dry_run: bool,
) -> _Done:
    with connections.manifest() as manifest:
        mapping = _stream_of(manifest, known.named(types), key)
        if dry_run:
            others = manifest.decisions.collides_with(mapping.stream, key)
            return _Done({mapping.stream: 1}, superseded=tuple(others))
    with connections.run("migration redeliver") as run:
        refuse_paused(run, mapping)
        believed = run.manifest.decisions.believe(mapping.stream, key, said, run_id=run.id)
        due = Redelivered({mapping.stream: 1}, (believed.unit_id,), {})
        return _delivered(run, known, due, superseded=believed.others)


def _stream_of(manifest: Manifest, mappings: Sequence[Mapping[Any]], key: str) -> Mapping[Any]:
    having = manifest.decisions.streams_of(key, [each.stream for each in mappings])
    found = [each for each in mappings if each.stream in having]
    if len(found) != 1:
        raise Permanent(
            "The key to believe is in several streams: add --type."
            if found
            else "No unit has the key to believe. `migration exceptions --reason duplicate-key` "
            "lists those that collide."
        )
    return found[0]


def _delivered(
    run: Run, known: Streams, due: Redelivered, *, superseded: tuple[str, ...] = ()
) -> _Done:
    """Deliver what is due as the phase allows, stream by stream in load order."""
    errors = []
    for each in known.mappings:
        if each.stream in due.by_stream:
            try:
                migrate(run, each)
            except MigrationError as error:
                errors.append(str(error))
    outcomes: Counter[str] = Counter()
    for (state, why), number in run.manifest.decisions.outcomes(due.ids).items():
        outcomes[f"{state.value}: {why}" if why else state.value] += number
    return _Done(due.by_stream, due.held_at_landing, superseded, dict(outcomes), tuple(errors))


def _print(done: _Done, known: Streams, *, dry_run: bool, as_json: bool) -> None:
    by_type = {known.type_of(stream): number for stream, number in done.due.items()}
    if as_json:
        print_json(
            {
                "dry_run": dry_run,
                "redelivered": by_type,
                "held_at_landing": done.held_at_landing,
                "superseded": list(done.superseded),
                "outcomes": done.outcomes,
                "errors": list(done.errors),
            }
        )
        return
    out = console()
    verb = "Would be tried again" if dry_run else "Tried again"
    for name, number in by_type.items():
        out.print(f"{verb}: {number:,} {name}.", markup=False)
    if not by_type:
        out.print("Nothing can be tried again here.")
    for why, number in sorted(done.outcomes.items()):
        out.print(f"  {number:,} now {why}", markup=False)
    if done.superseded:
        out.print(f"Not believed: {', '.join(done.superseded)}", markup=False)
    for why, number in sorted(done.held_at_landing.items()):
        out.print(f"Left alone: {number:,} {why}: {_WAY_OUT.get(why, _MEND)}", markup=False)
    for error in done.errors:
        out.print(error, style="red", markup=False)


_MEND = "held since it landed; mend the row at the source"
_WAY_OUT = {
    "duplicate-key": "say which row is right with --believe",
    "superseded-by-decision": "another row was believed; change that with --believe",
}
