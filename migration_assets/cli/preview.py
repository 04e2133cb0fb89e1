"""``migration preview TYPE``: row beside resource beside problems; writes nothing."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import orjson
import typer
from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from migration_assets.cli.output import console, print_json
from migration_assets.cli.version_change import show_version_change
from migration_assets.connections import Connections, mappings_of
from migration_assets.demo.on_demand import before_use
from migration_assets.errors import Permanent
from migration_assets.manifest import Manifest
from migration_assets.manifest.payload import PURGED
from migration_assets.mapping import Mapping
from migration_assets.medplum import MedplumClient
from migration_assets.settings import read_settings
from migration_assets.steps.preparation import Preview
from migration_assets.steps.preparation import preview as preview_row
from migration_assets.steps.transforming import ask_rows, bound

_SHOWN = 3


def preview(
    resource_type: Annotated[str, typer.Argument(metavar="TYPE", help="A FHIR type: Patient")],
    limit: Annotated[int | None, typer.Option(min=1, help="How many rows [default: 3].")] = None,
    key: Annotated[list[str] | None, typer.Option(help="Show the row with this key.")] = None,
    live: Annotated[bool, typer.Option(help="Ask the legacy API, not the landed rows.")] = False,  # noqa: FBT002 - typer's way
    since_version: Annotated[  # noqa: FBT002
        bool,
        typer.Option("--since-version", help="What the new version changes of what is settled."),
    ] = False,
    show_values: Annotated[  # noqa: FBT002
        bool, typer.Option("--show-values", help="With --since-version: values too.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,  # noqa: FBT002
) -> None:
    """Show what rows of a type become, beside the rows. It prints patient data to your terminal.

    Rows on account are used if there are any, else one page is pulled. Nothing is written.

    With --since-version every landed row that another version settled is mapped again (or --limit
    of them), and what would change is counted; no patient data is shown but with --show-values.
    """
    settings = read_settings()
    found = mappings_of(settings)
    mapping = next((each for each in found.values() if resource_type in each.types), None)
    if mapping is None:
        types = ", ".join(name for each in found.values() for name in each.types)
        raise Permanent(f"No mapping makes {resource_type}. There are: {types}.")
    connections = Connections(settings, before_use=before_use)
    if since_version:
        show_version_change(connections, mapping, limit, values=show_values, as_json=as_json)
        return
    rows = _rows(connections, mapping, limit or _SHOWN, key or [], live=live)
    previews = _previewed(connections, mapping, list(rows))
    if as_json:
        print_json([_plain(each) for each in previews])
        return
    for each in previews:
        _show(each)
    if not previews:
        console().print(_nothing_found(mapping.stream, keys=bool(key), live=live))


def _previewed(
    connections: Connections, mapping: Mapping[Any], rows: list[tuple[str, Any]]
) -> list[Preview]:
    """What the rows become; a mapping's Bot is executed for them, if Medplum is set."""
    if mapping.transformer is not None:
        with connections.manifest() as manifest, closing_medplum(connections, manifest) as fhir:
            mapping = bound(mapping, manifest, fhir)
            ask_rows(mapping, [row for _, row in rows])
    return [preview_row(mapping, name, row) for name, row in rows]


@contextmanager
def closing_medplum(connections: Connections, manifest: Manifest) -> Iterator[MedplumClient | None]:
    """The Medplum project, if one is set, closed afterwards."""
    fhir = connections.medplum(manifest)
    try:
        yield fhir
    finally:
        if fhir is not None:
            fhir.close()


def _nothing_found(stream: str, *, keys: bool, live: bool) -> str:
    if not keys:
        return f"The legacy API has no rows in {stream}."
    if live:
        return f"The first page of {stream} has no such key; without --live the account is asked."
    return f"No row of {stream} with such a key is on account; --live asks the legacy API."


def _rows(
    connections: Connections, mapping: Mapping[Any], limit: int, keys: list[str], *, live: bool
) -> Iterator[tuple[str, Any]]:
    with connections.manifest() as manifest:
        if not live:
            units = manifest.landed_units(mapping.stream, limit=limit, keys=keys)
            there = [(each.key, each.row) for each in units if each.row is not PURGED]
            if there or (keys and not units):
                return iter(there)
            if units:
                raise Permanent(
                    f"Previewing {mapping.stream} from the account: these rows were purged. Ask "
                    "the legacy API with --live."
                )
        page = connections.puller(manifest).first_page(mapping.stream)
    pulled = (each for each in page.rows if not keys or each.key in keys)
    return ((str(each.key), each.row) for each in itertools.islice(pulled, limit))


def _plain(each: Preview) -> dict[str, Any]:
    return {
        "key": each.key,
        "row": each.row,
        "resources": list(each.resources),
        "problems": list(each.problems),
    }


def _show(each: Preview) -> None:
    made = [Panel(_pretty(one), title=str(one["resourceType"])) for one in each.resources]
    problems = Text("\n".join(each.problems) or "none")
    style = "red" if each.problems else "green"
    beside = Table.grid(expand=True, padding=(0, 1))
    beside.add_column(ratio=2)
    beside.add_column(ratio=3)
    beside.add_row(
        Panel(_pretty(each.row), title=Text(f"row {each.key}")),
        Group(*made, Panel(problems, title="problems", border_style=style)),
    )
    console().print(beside)


def _pretty(value: Any) -> Text:
    try:
        return Text(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
    except TypeError:  # broken UTF-8: shown escaped
        return Text(ascii(value))
