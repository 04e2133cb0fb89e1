"""``migration flags``: tell front ends which system to read and write, type by type."""

from pathlib import Path
from typing import Annotated

import typer

from migration_assets.adoption.flags import flags as flags_of
from migration_assets.cli.choosing import speaker
from migration_assets.cli.output import console, plain_table, print_json
from migration_assets.connections import Connections, mappings_of
from migration_assets.demo.on_demand import before_use
from migration_assets.settings import read_settings
from migration_assets.switching.publishing import publish


def flags(
    out: Annotated[
        Path | None, typer.Option(help="JSON file to write; MIGRATION_FLAGS by default.")
    ] = None,
    by: Annotated[str | None, typer.Option(help="Who does it; default: you.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,  # noqa: FBT002 - typer's way
) -> None:
    """Publish from the phases which system to read and to write: as a file, and in Medplum.

    What did not change is not written again.
    """
    settings = read_settings()
    connections = Connections(settings, before_use=before_use)
    kinds = [kind for each in mappings_of(settings).values() for kind in each.types]
    found = flags_of(connections.adoption(), kinds)
    with connections.manifest() as manifest:
        client = connections.medplum(manifest)
        try:
            written = publish(manifest, client, out or settings.flags, found, by=speaker(by))
        finally:
            if client is not None:
                client.close()
    if as_json:
        print_json({**found, "written": written})
        return
    table = plain_table("Which system to read and to write")
    for name in ("type", "phase", "read", "write", "services write both"):
        table.add_column(name, no_wrap=True)
    for kind, flag in found["types"].items():
        both = "yes" if flag["dual_write"] else "no"
        table.add_row(kind, flag["phase"], flag["read"], flag["write"], both)
        for name, part in flag.get("cohorts", {}).items():
            both = "yes" if part["dual_write"] else "no"
            table.add_row(f"· {name}", part["phase"], part["read"], part["write"], both)
    console().print(table)
    for place, how in written.items():
        where = how.get("reference") or how.get("name")
        console().print(f"{place}: {where} {how['event']}", markup=False)
    if not written:
        console().print("Published nowhere: give --out, or set MEDPLUM_BASE_URL and the client.")
