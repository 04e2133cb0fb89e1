"""``migration purge``: drop landed rows that retention lets go of."""

from typing import Annotated

import typer

from migration_assets.cli.choosing import speaker
from migration_assets.cli.output import console, plain_table, print_json
from migration_assets.cli.rehearse import chosen_mappings
from migration_assets.connections import Connections, mappings_of
from migration_assets.operations.purging import Purged, rows_needed
from migration_assets.operations.purging import purge as purge_rows
from migration_assets.settings import read_settings

_MEBI = 1024 * 1024


def purge(
    types: Annotated[
        list[str] | None, typer.Argument(metavar="[TYPE]...", help="FHIR types; all by default.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only say what.")] = False,  # noqa: FBT002 - typer's way
    release: Annotated[  # noqa: FBT002
        bool, typer.Option("--release", help="Give the space back to the disk; locks the account.")
    ] = False,
    by: Annotated[str | None, typer.Option(help="Who does it; default: you.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,  # noqa: FBT002
) -> None:
    """Drop the rows of final outcomes that MIGRATION_RETENTION lets go of; all else stays.

    Says what it would drop; --yes does it. Keys, hashes, attempts and the balance stay. A purged
    row cannot be mapped again from here: its window has to be pulled anew.
    """
    settings = read_settings()
    found = list(mappings_of(settings).values())
    chosen = chosen_mappings(found, types or []) if types else []
    connections = Connections(settings)
    with connections.manifest() as manifest:
        purged = purge_rows(
            manifest,
            settings.policy,
            connections.clock(),
            by=speaker(by),
            act=yes,
            streams=[each.stream for each in chosen],
            keep_living=rows_needed(found),
            release=release,
        )
    if as_json:
        print_json({"done": yes, "rows": purged.rows, "bytes": purged.bytes, "kept": purged.terms})
    else:
        _print(purged, done=yes)


def _print(purged: Purged, *, done: bool) -> None:
    out = console()
    if purged.rows:
        table = plain_table("Purged" if done else "What a purge would drop (--yes does it)")
        for name in ("stream", "kept", "rows", "MiB"):
            table.add_column(name, justify="right" if name in ("rows", "MiB") else "left")
        for stream, rows in purged.rows.items():
            size = f"{purged.bytes[stream] / _MEBI:,.1f}"
            table.add_row(stream, purged.terms[stream], f"{rows:,}", size)
        out.print(table)
        return
    terms = ", ".join(sorted(set(purged.terms.values()))) or "nothing is on account"
    out.print(f"Nothing to purge (kept: {terms}). MIGRATION_RETENTION says how long rows are kept.")
