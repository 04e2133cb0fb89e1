"""``migration sweep``: read streams whole, find what was deleted, deliver what follows from it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer
from rich.table import Table

from migration_assets.cli.output import console, plain_table, print_json
from migration_assets.connections import Connections, mappings_of
from migration_assets.demo.on_demand import before_use
from migration_assets.errors import MigrationError, Permanent
from migration_assets.mapping import Mapping
from migration_assets.pipeline import migrate
from migration_assets.run import Run
from migration_assets.settings import read_settings
from migration_assets.sweeping import sweep as sweep_stream


@dataclass(frozen=True)
class Finding:
    """What the sweep of one stream came to; ``error`` says why it does not count."""

    stream: str
    read: int = 0
    changed: int = 0
    absent: int = 0
    gone: int = 0
    waiting: int = 0
    hidden: int = 0
    settled: int = 0
    error: str | None = None


def sweep(
    types: Annotated[
        list[str] | None, typer.Argument(metavar="[TYPE]...", help="FHIR types; all by default.")
    ] = None,
    allow_missing: Annotated[
        int | None,
        typer.Option(min=0, help="Believe up to so many missing rows, this once."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,  # noqa: FBT002 - typer's way
) -> None:
    """Read streams whole, find rows that are gone, and deliver what follows if the phase allows it.

    A missing row counts as deleted once the source confirms it, or two sweeps did not see it.
    Exit 1: a sweep failed or was refused.
    """
    settings = read_settings()
    found = mappings_of(settings)
    connections = Connections(settings, before_use=before_use)
    chosen = _chosen(list(found.values()), types or [])
    if not types:  # a queue shows what changed, never all there is: nothing to sweep
        source = connections.source()
        chosen = [each for each in chosen if source.stream(each.stream).queue is None]
    with connections.run("migration sweep") as run:
        findings = [_finding(run, each, allow_missing) for each in chosen]
    if as_json:
        print_json([asdict(each) for each in findings])
    else:
        console().print(_table(findings))
        for each in findings:
            if each.error:
                console().print(f"{each.stream}: {each.error}", style="red")
    if any(each.error for each in findings):
        raise typer.Exit(1)


def _chosen(mappings: Sequence[Mapping[Any]], types: Sequence[str]) -> list[Mapping[Any]]:
    known = {name: each for each in mappings for name in each.types}
    for name in types:
        if name not in known:
            raise Permanent(f"No mapping makes {name}. There are: {', '.join(known)}.")
    wanted = {known[name].stream for name in types}
    return [each for each in mappings if not types or each.stream in wanted]


def _finding(run: Run, mapping: Mapping[Any], allow_missing: int | None) -> Finding:
    standing = run.adoption.standing(mapping.resource_type)
    if not standing.may_pull:
        return Finding(mapping.stream, error=standing.refusal)
    try:
        swept = sweep_stream(run, mapping, allow_missing=allow_missing)
        worked = migrate(run, mapping)
    except MigrationError as error:
        return Finding(mapping.stream, error=str(error))
    return Finding(
        stream=mapping.stream,
        read=swept.landed.rows,
        changed=swept.landed.new + swept.landed.changed,
        absent=swept.absent,
        gone=swept.gone,
        waiting=swept.waiting,
        hidden=swept.hidden,
        settled=sum(worked.by_state.values()),
    )


def _table(findings: Sequence[Finding]) -> Table:
    table = plain_table("Swept: every stream read whole")
    table.add_column("stream", no_wrap=True)
    names = ("read", "changed", "absent", "gone", "waiting", "hidden", "settled")
    for name in names:
        table.add_column(name, justify="right")
    for each in findings:
        numbers = asdict(each)
        shown = [f"{numbers[name]:,}" if numbers[name] else "·" for name in names]
        table.add_row(each.stream, *(["-"] * len(names) if each.error else shown))
    table.caption = (
        "waiting: not seen, and counted as gone if the next sweep does not see it either. "
        "hidden: not in the list, but there when asked for."
    )
    return table
