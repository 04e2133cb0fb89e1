"""``migration register``: which field becomes which element, by what rule, from code and data."""

from pathlib import Path
from typing import Annotated

import orjson
import typer

from migration_assets.cli.output import console, print_json
from migration_assets.connections import Connections, mappings_of
from migration_assets.counting import several
from migration_assets.errors import Permanent
from migration_assets.private_files import write_private
from migration_assets.profiling.register import Register
from migration_assets.profiling.register import register as make_register
from migration_assets.profiling.register_page import as_json_value, as_markdown, register_page
from migration_assets.settings import read_settings


def register(
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write it to a .md, .html or .json file instead."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,  # noqa: FBT002 - typer's way
) -> None:
    """Write the mapping register: each field's element, rule, terminology and disposition.

    It is found out by changing the mappings' examples and landed rows one field at a time. It holds
    no value of a row. Exit 1 if a populated field is read by no mapping.
    """
    settings = read_settings()
    connections = Connections(settings)
    found = mappings_of(settings)
    source = connections.source() if settings.source is not None else None
    with connections.manifest() as manifest:
        made = make_register(list(found.values()), manifest, source)
    if out is not None:
        _write(out, made, connections)
    elif as_json:
        print_json(as_json_value(made))
    else:
        typer.echo(as_markdown(made, connections.clock()), nl=False)
    if made.not_mapped:
        raise typer.Exit(1)


def _write(path: Path, made: Register, connections: Connections) -> None:
    now = connections.clock()
    if path.suffix == ".json":
        text = orjson.dumps(as_json_value(made), option=orjson.OPT_INDENT_2).decode()
    elif path.suffix in (".html", ".md"):
        text = register_page(made, now) if path.suffix == ".html" else as_markdown(made, now)
    else:
        raise Permanent(f"Writing the register: {path.name} must end in .md, .html or .json.")
    write_private(path, text.encode())
    out = console()
    out.print(f"Written: {path}")
    for stream, field in made.not_mapped:
        out.print(
            f"! {stream}.{field.path}: populated in {several(field.populated, 'row')}, not mapped",
            markup=False,
        )
    for name, rows in made.unmapped_streams.items():
        out.print(f"! {name}: {several(rows, 'row')} on account, and no mapping", markup=False)
