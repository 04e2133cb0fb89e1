"""``migration describe``: draft a source description from an OpenAPI document."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from migration_assets.counting import several
from migration_assets.errors import Permanent
from migration_assets.legacy.drafting import Draft, draft, fetch_document, is_url, read_document
from migration_assets.legacy.origins import place


def describe(
    openapi: Annotated[
        str,
        typer.Option(metavar="FILE|URL", help="OpenAPI 3 or Swagger 2.0 document, JSON or YAML."),
    ],
    name: Annotated[
        str | None, typer.Option(help="Name of the source; else from the title.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it here, not to the terminal.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="STREAM", help="Only this stream; may repeat.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,  # noqa: FBT002 - typer's way
) -> None:
    """Draft a source description from an OpenAPI document, to be completed by a person.

    What the document leaves open is a line that begins with "# decide:" and says what would be
    lost; until then the draft takes the side that loses nothing.
    """
    if out is not None and out.exists() and not force:
        raise Permanent(f"{out} exists and is left alone: name another file, or say --force.")
    if is_url(openapi):
        where, document = f"the document at {place(openapi)}", fetch_document(openapi)
    else:
        where, document = f"the file {openapi}", read_document(Path(openapi))
    drafted = draft(document, where=where, name=name, only=only or ())
    if out is None:
        sys.stdout.write(drafted.text)
    else:
        _write(out, drafted.text, force=force)
    _tell(drafted, out)


def _write(out: Path, text: str, *, force: bool) -> None:
    try:
        with out.open("w" if force else "x", encoding="utf-8") as opened:
            opened.write(text)
    except OSError as error:
        raise Permanent(f"{out} cannot be written: {error.strerror}.") from None


def _tell(drafted: Draft, out: Path | None) -> None:
    """On standard error, so that the draft itself can be piped into a file."""
    told = Console(stderr=True, highlight=False, soft_wrap=True)
    counted = f"{several(len(drafted.streams), 'stream')} drafted"
    if drafted.left_out:
        counted += f", {len(drafted.left_out)} more in comments to complete"
    told.print(f"{counted}; {drafted.decisions} lines to decide.", markup=False)
    if drafted.variables:
        told.print(f"It takes from the environment: {', '.join(drafted.variables)}.", markup=False)
    file = out if out is not None else "FILE"
    told.print(f"Next: MIGRATION_SOURCE={file} migration check STREAM", markup=False)
