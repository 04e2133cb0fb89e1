"""``migration resume TYPE``: let a paused stream go on."""

from typing import Annotated

import typer

from migration_assets.cli.choosing import speaker, streams
from migration_assets.cli.output import console, print_json
from migration_assets.connections import Connections
from migration_assets.settings import read_settings


def resume(
    types: Annotated[list[str], typer.Argument(metavar="TYPE...", help="FHIR types or streams.")],
    note: Annotated[str | None, typer.Option(help="What was mended. No patient data.")] = None,
    by: Annotated[str | None, typer.Option(help="Who says so; default: you.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,  # noqa: FBT002 - typer's way
) -> None:
    """Let streams go on that were paused because too much of them failed.

    What failed stays held until it is redelivered, or its rows change. Exit 1: none was paused.
    """
    settings = read_settings()
    chosen = streams(settings, sent=True).named(types)
    who = speaker(by)
    with Connections(settings).manifest() as manifest:
        resumed = [
            each.resource_type
            for each in chosen
            if manifest.pauses.resume(each.stream, by=who, note=note)
        ]
    if as_json:
        print_json({"resumed": resumed})
    else:
        console().print(f"Resumed: {', '.join(resumed)}." if resumed else "None of them is paused.")
    if not resumed:
        raise typer.Exit(1)
