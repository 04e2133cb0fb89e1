"""``migration seal``: encrypt everything on account with the newest key."""

from typing import Annotated

import typer
from rich.progress import Progress

from migration_assets.cli.choosing import speaker
from migration_assets.cli.output import console, print_json
from migration_assets.connections import Connections
from migration_assets.counting import several
from migration_assets.manifest.rotation import rotate
from migration_assets.manifest.sealing import new_key
from migration_assets.settings import read_settings


def seal(
    make_key: Annotated[  # noqa: FBT002 - typer's way
        bool, typer.Option("--new-key", help="Print a new key, do nothing else.")
    ] = False,
    by: Annotated[str | None, typer.Option(help="Who does it; default: you.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,  # noqa: FBT002
) -> None:
    """Seal all landed rows with the first key of MIGRATION_ENCRYPTION_KEYS, whatever sealed them.

    For the first key, and to change it: put the new one first, leave the old ones behind it, seal,
    then take them out. It can be stopped at any time and run again; migrations may go on meanwhile.
    """
    if make_key:
        typer.echo(new_key())
        return
    with Connections(read_settings()).manifest() as manifest:
        rotation = manifest.protection.rotation
        key = rotation.newest_key()
        with Progress(console=console(), disable=as_json, transient=True) as bar:
            task = bar.add_task("Sealing rows", total=None)
            rows, prints = rotate(
                rotation,
                manifest.protection.custody,
                by=speaker(by),
                told=lambda number: bar.update(task, advance=number),
            )
        standing = rotation.standing()
    if as_json:
        print_json({"key": key, "rows": rows, "prints": prints, "purged": standing.purged})
        return
    held = standing.by_key.get(key, 0)
    console().print(
        f"Sealed with key {key}: {several(rows, 'row')} and "
        f"{several(prints, 'fingerprint')} anew; {several(held, 'row is', 'rows are')} under it "
        "now. No other key is needed."
    )
