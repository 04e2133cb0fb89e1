"""``migration profile STREAM``: what the rows of a stream are like, before a mapping meets them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.text import Text

from migration_assets.cli.output import console, plain_table, print_json
from migration_assets.connections import Connections
from migration_assets.counting import several
from migration_assets.demo.on_demand import before_use
from migration_assets.errors import Permanent
from migration_assets.manifest import Manifest
from migration_assets.private_files import write_private
from migration_assets.profiling.page import as_json_value, profile_page
from migration_assets.profiling.reading import LIVE_ROWS, profile_landed, profile_live
from migration_assets.profiling.remarks import field_remarks, stream_remarks
from migration_assets.profiling.stream import StreamProfile
from migration_assets.settings import read_settings

_SHOWN_REMARKS = 3
_KINDS = {"integer": "int", "number": "num", "boolean": "bool", "not-a-number": "NaN"}


def profile(
    streams: Annotated[list[str], typer.Argument(metavar="STREAM...", help="patients encounters")],
    live: Annotated[bool, typer.Option(help="Ask the legacy API, not the landed rows.")] = False,  # noqa: FBT002 - typer's way
    sample: Annotated[
        int | None,
        typer.Option(min=1, help=f"Rows to look at; else all that landed, or {LIVE_ROWS:,} live."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Draws the sample of landed rows.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write profile.html, with plots, and profile.json here."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,  # noqa: FBT002
) -> None:
    """Show what the rows of streams are like: types, gaps, dates, references, encodings.

    Values are shown only where at least 5 rows share a short code; otherwise shapes and counts.
    """
    connections = Connections(read_settings(), before_use=before_use)
    with connections.manifest() as manifest:
        if live:
            found = _live(connections, manifest, streams, sample or LIVE_ROWS)
        else:
            _check_landed(manifest, streams)
            found = [profile_landed(manifest, each, sample=sample, seed=seed) for each in streams]
    if as_json:
        print_json([as_json_value(each) for each in found])
    else:
        for each in found:
            _show(each)
    if out is not None:
        _write(out, connections, found)
        if not as_json:
            console().print(
                f"\nWritten, readable by you only: {out / 'profile.html'}, profile.json"
            )


def _live(
    connections: Connections, manifest: Manifest, streams: Sequence[str], rows: int
) -> list[StreamProfile]:
    source, puller = connections.source(), connections.puller(manifest)
    try:
        return [profile_live(puller, source, manifest, each, rows=rows) for each in streams]
    finally:
        puller.close()


def _check_landed(manifest: Manifest, streams: Sequence[str]) -> None:
    landed = manifest.contents.counts()
    unknown = [each for each in streams if each not in landed]
    if unknown:
        known = ", ".join(sorted(landed)) or "none yet"
        raise Permanent(
            f"Profiling {unknown[0]}: no row of it is on account (streams that are: {known}). "
            "Materialize its type first, or ask the legacy API with --live."
        )


def _show(found: StreamProfile) -> None:
    out = console()
    table = plain_table(f"{found.stream}: {several(found.rows, 'row')} ({found.origin})")
    table.add_column("field", overflow="fold", max_width=24)
    table.add_column("filled", justify="right", no_wrap=True)
    table.add_column("type", no_wrap=True)
    table.add_column("distinct", justify="right", no_wrap=True)
    table.add_column("what stands out (! grave)", overflow="fold")
    for field in found.fields:
        about = "" if field.distinct_exact else "≈"
        distinct = f"{about}{field.distinct:,}" if field.distinct else "·"
        table.add_row(
            Text(field.path), _share(field.filled_share), _kinds(field.kinds), distinct,
            _remarks(found, field.path),
        )  # fmt: skip
    out.print(table)
    for remark in stream_remarks(found):
        out.print(Text(("! " if remark.grave else "  ") + remark.told))


def _remarks(found: StreamProfile, path: str) -> Text:
    field = next(each for each in found.fields if each.path == path)
    remarks = field_remarks(found, field)
    told = Text()
    for number, remark in enumerate(remarks[:_SHOWN_REMARKS]):
        told.append("; " if number else "")
        told.append(("! " if remark.grave else "") + remark.told, "yellow" if remark.grave else "")
    if len(remarks) > _SHOWN_REMARKS:
        told.append(f"; {len(remarks) - _SHOWN_REMARKS} more")
    return told


def _share(share: float) -> str:
    if 0 < share < 1:  # neither a few nor nearly all may look like none or all
        share = min(max(share, 0.001), 0.999)
    return f"{share:.1%}" if share < 1 else "100%"


def _kinds(kinds: dict[str, int]) -> str:
    named = [_KINDS.get(kind, kind) for kind in kinds if kind != "null"]
    return "/".join(named) or "null"


def _write(folder: Path, connections: Connections, found: Sequence[StreamProfile]) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    page = profile_page(found, connections.clock())
    plain = orjson.dumps([as_json_value(each) for each in found], option=orjson.OPT_INDENT_2)
    for name, content in (("profile.html", page.encode()), ("profile.json", plain)):
        write_private(folder / name, content)
