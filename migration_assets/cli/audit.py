"""``migration audit``: which rows services missed or wrote otherwise, row by row."""

from collections import Counter
from contextlib import closing, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from migration_assets.cli.choosing import streams
from migration_assets.cli.output import console, plain_table, print_json, short_key
from migration_assets.connections import Connections
from migration_assets.demo.on_demand import before_use
from migration_assets.settings import read_settings
from migration_assets.switching.audit import VERDICTS, Verdict, only_sent, verdicts

SHOWN = 20
_MEANS = {
    "missed": "nothing was there when the puller came",
    "different": "something else was there, or counts as newer",
    "unknown": "not compared yet: pending, or not read by the puller since a service sent it",
    "left_out": "the row itself has no outcome that could be compared",
    "agreed": "as the puller would have written it",
}


def audit(
    resource_type: Annotated[str, typer.Argument(metavar="TYPE", help="The FHIR type.")],
    days: Annotated[
        float | None, typer.Option(help="So many days back; default: MIGRATION_GATE_DAYS.")
    ] = None,
    shown: Annotated[int, typer.Option(min=0, help="Keys shown of each verdict.")] = SHOWN,
    as_json: Annotated[bool, typer.Option("--json", help="All of it, for machines.")] = False,  # noqa: FBT002 - typer's way
) -> None:
    """Compare what services wrote with what the puller would have written; writes nothing.

    The keys behind the discrepancy that the exit gate of dual_write asks about. What is missed or
    different the puller repairs when it delivers.
    """
    settings = read_settings()
    connections = Connections(settings, before_use=before_use)
    (mapping,) = streams(settings).named([resource_type])
    back = timedelta(days=settings.gate_days if days is None else days)
    since = datetime.now(UTC) - back
    with connections.manifest() as manifest:
        fhir = connections.medplum(manifest)
        with closing(fhir) if fhir is not None else nullcontext():
            found = list(verdicts(manifest, fhir, connections.adoption(), mapping, since=since))
        beside = list(only_sent(manifest, mapping, since=since))
    if as_json:
        print_json(
            {
                "type": mapping.resource_type,
                "since": since.isoformat(),
                **{name: [each.key for each in found if each.said == name] for name in VERDICTS},
                "only_sent": [{"type": kind, "key": key} for kind, key in beside],
            }
        )
        return
    _show(mapping.resource_type, since, found, beside, shown)


def _show(
    kind: str, since: datetime, found: list[Verdict], beside: list[tuple[str, str]], shown: int
) -> None:
    counts = Counter(each.said for each in found)
    out = console()
    table = plain_table(f"{kind}: rows changed since {since:%Y-%m-%d %H:%M} UTC")
    table.add_column("services", no_wrap=True)
    table.add_column("rows", justify="right", no_wrap=True)
    table.add_column("means", overflow="fold")
    table.add_column("for example", overflow="fold")
    for name in VERDICTS:
        keys = [each.key for each in found if each.said == name] if name != "agreed" else []
        listed = ", ".join(short_key(key) for key in keys[:shown])
        more = f" … {len(keys) - shown:,} more" if len(keys) > shown else ""
        table.add_row(name, f"{counts[name]:,}", _MEANS[name], listed + more)
    out.print(table)
    if beside:
        some = ", ".join(f"{one} {short_key(key)}" for one, key in beside[:shown])
        out.print(
            f"\n{len(beside):,} sent as FHIR of which the legacy system has shown no row: {some}",
            markup=False,
        )
