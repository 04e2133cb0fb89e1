"""``migration rehearse``: what a run would write, without writing anything anywhere."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from migration_assets.cli.output import console, plain_table, print_json
from migration_assets.connections import Connections, mappings_of
from migration_assets.demo.on_demand import before_use
from migration_assets.errors import Permanent
from migration_assets.fhir.likeness import PERSON
from migration_assets.manifest import Manifest, State
from migration_assets.manifest.likenesses import PROBABLE_DUPLICATE
from migration_assets.manifest.remapping import SettledUnit
from migration_assets.manifest.subsets import Subset
from migration_assets.mapping import Mapping
from migration_assets.operations.rehearsed_rows import landed_rows, live_rows
from migration_assets.operations.rehearsing import Rehearsal, Rehearsed
from migration_assets.settings import read_settings
from migration_assets.steps.probable_duplicates import foreseen

_EVENTS = ("created", "changed", "unchanged", "deleted")
_DAYS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]
_STAND_STILL = (State.SKIPPED, State.REJECTED, State.QUARANTINED)


def rehearse(  # noqa: PLR0913, PLR0917 - a verb's options
    types: Annotated[
        list[str] | None, typer.Argument(metavar="[TYPE]...", help="FHIR types; all by default.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="So many rows of each type.")] = None,
    keys: Annotated[list[str] | None, typer.Option(help="Only the row with this key.")] = None,
    sample: Annotated[int | None, typer.Option(min=1, help="A sample of so many rows.")] = None,
    seed: Annotated[int, typer.Option(help="Another seed is another sample.")] = 0,
    since: Annotated[
        datetime | None, typer.Option(formats=_DAYS, help="Changed at or after (UTC).")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(formats=_DAYS, help="Changed before (UTC).")
    ] = None,
    live: Annotated[bool, typer.Option(help="Ask the legacy API, not the landed rows.")] = False,  # noqa: FBT002 - typer's way
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,  # noqa: FBT002
) -> None:
    """Show what would be created, changed, deleted or held. Nothing is written, landed or sent.

    References are resolved against the account and, where it is set, Medplum. Exit 1: some rows
    would be quarantined or rejected.
    """
    subset = Subset(
        limit=limit,
        keys=tuple(keys or ()),
        sample=sample,
        seed=seed,
        since=since and since.replace(tzinfo=UTC),
        until=until and until.replace(tzinfo=UTC),
    )
    settings = read_settings()
    found = mappings_of(settings)
    chosen = chosen_mappings(list(found.values()), types or [])
    connections = Connections(settings, before_use=before_use)
    with connections.manifest() as manifest:
        rehearsed = _rehearse(connections, manifest, chosen, subset, live=live)
        asked = connections.medplum(manifest) is not None
    if as_json:
        print_json({"medplum_asked": asked, "types": [_plain(each) for each in rehearsed]})
    else:
        _print(rehearsed, asked=asked)
    failed = (State.QUARANTINED, State.REJECTED)
    if any(each.states[state] for each in rehearsed for state in failed):
        raise typer.Exit(1)


def chosen_mappings(mappings: Sequence[Mapping[Any]], types: Sequence[str]) -> list[Mapping[Any]]:
    """The mappings of these types, in load order; all without any.

    Raises:
        Permanent: no mapping makes one of them.
    """
    known = {name: each for each in mappings for name in each.types}
    for name in types:
        if name not in known:
            raise Permanent(f"No mapping makes {name}. There are: {', '.join(known)}.")
    wanted = {known[name].stream for name in types}
    return [each for each in mappings if not types or each.stream in wanted]


def _rehearse(
    connections: Connections,
    manifest: Manifest,
    mappings: Sequence[Mapping[Any]],
    subset: Subset,
    *,
    live: bool,
) -> list[Rehearsed]:
    puller = connections.puller(manifest) if live else None
    rehearsal = Rehearsal(manifest, connections.medplum(manifest), connections.adoption())

    def rows(stream: str) -> Iterator[list[SettledUnit]]:
        if puller is None:
            return landed_rows(manifest, stream, subset)
        return live_rows(manifest, puller, stream, subset)

    made: list[Rehearsed] = []
    for mapping in mappings:
        report = Rehearsed(mapping.resource_type)
        for outlook in rehearsal.rehearse(mapping, _as_held(manifest, mapping, rows, live=live)):
            report.add(outlook)
        made.append(report)
    return made


def _as_held(
    manifest: Manifest,
    mapping: Mapping[Any],
    rows: Callable[[str], Iterator[list[SettledUnit]]],
    *,
    live: bool,
) -> Iterator[list[SettledUnit]]:
    """The rows, those marked that would be held because they may be one person with another.

    That takes a first pass. Patients pulled from the legacy API are kept in memory for it.
    """
    if PERSON not in mapping.types:
        yield from rows(mapping.stream)
        return
    kept = list(rows(mapping.stream)) if live else None

    def chunks() -> Iterable[list[SettledUnit]]:
        return rows(mapping.stream) if kept is None else kept

    held = foreseen(manifest, mapping, itertools.chain.from_iterable(chunks()))
    for chunk in chunks():
        yield [
            replace(
                each,
                state=State.QUARANTINED,
                reason=PROBABLE_DUPLICATE,
                field=held[each.unit.id],
                held=True,
            )
            if each.unit.id in held
            else each
            for each in chunk
        ]


def _plain(each: Rehearsed) -> dict[str, Any]:
    return {
        "type": each.resource_type,
        "rows": each.rows,
        "states": {state.value: number for state, number in sorted(each.states.items())},
        "resources": [
            {"type": kind, "event": event, "count": number}
            for (kind, event), number in sorted(each.resources.items())
        ],
        "reasons": [
            {
                "state": state.value,
                "reason": reason,
                "field": where,
                "count": number,
                "keys": each.keys[state, reason, where],
            }
            for (state, reason, where), number in each.reasons.most_common()
        ],
    }


def _print(rehearsed: Sequence[Rehearsed], *, asked: bool) -> None:
    out = console()
    table = plain_table("A rehearsal: what a run would do, nothing was written")
    table.add_column("type", no_wrap=True)
    names = ("rows", *_EVENTS, *_STAND_STILL)
    for name in names:
        table.add_column(name, justify="right")
    for each in rehearsed:
        kinds = dict.fromkeys([each.resource_type, *sorted({kind for kind, _ in each.resources})])
        for kind in kinds:
            main = kind == each.resource_type
            events = [each.resources[kind, event] for event in _EVENTS]
            states = [each.states[state] if main else 0 for state in _STAND_STILL]
            numbers = [each.rows if main else 0, *events, *states]
            table.add_row(kind, *(f"{number:,}" if number else "·" for number in numbers))
    out.print(table)
    if any(each.reasons for each in rehearsed):
        out.print(_why(rehearsed))
    if not asked:
        out.print("Medplum was not asked (no credentials): what the account knows not is new.")
    if not any(each.rows for each in rehearsed):
        out.print("No such row is on account; --live asks the legacy API.")


def _why(rehearsed: Sequence[Rehearsed]) -> Table:
    table = plain_table("What would not arrive, and why")
    for name in ("type", "state", "reason"):
        table.add_column(name, no_wrap=True)
    table.add_column("at", overflow="fold")
    table.add_column("rows", justify="right")
    table.add_column("for example", overflow="fold")
    for each in rehearsed:
        for why, number in each.reasons.most_common():
            state, reason, where = why
            keys = ", ".join(ascii(key)[1:-1] for key in each.keys[why])
            table.add_row(each.resource_type, state, reason, where, f"{number:,}", keys)
    return table
