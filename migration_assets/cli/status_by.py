"""``migration status --by`` and ``--recount``: the balance from other sides, and its proof.

Belongs here: printing the balance by window, version or run. Does not belong here: the verb.
"""

import enum
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import typer

from migration_assets.cli.output import STATE_STYLES, console, plain_table, print_json
from migration_assets.manifest import Manifest
from migration_assets.manifest.tallies import Dimension
from migration_assets.mapping import Mapping
from migration_assets.reconciliation.balance import TypeBalance
from migration_assets.reconciliation.dimensions import Part, Windows, adds_up, balance_by
from migration_assets.settings import Settings

_SHOWN = 60  # the latest windows or runs, for people; JSON has all
_NONE = {"window": "no change time", "version": "not mapped yet", "run": "none"}


class By(enum.StrEnum):
    """From which side the balance is shown."""

    TYPE = "type"
    WINDOW = "window"
    VERSION = "version"
    RUN = "run"


def show_by(
    by: By,
    manifest: Manifest,
    mappings: Sequence[Mapping[Any]],
    settings: Settings,
    *,
    as_json: bool,
) -> None:
    """Print the balance by a dimension.

    Raises:
        typer.Exit: 1 if its parts do not add up to the balance of a stream.
    """
    today = datetime.now(UTC).date()
    windows = Windows(settings.partitions, settings.start, today)
    parts = balance_by(manifest, mappings, Dimension(by.value), windows)
    holds = adds_up(manifest, mappings, parts)
    if as_json:
        rows = [
            {"type": each.resource_type, by.value: each.name, **_numbers(each)} for each in parts
        ]
        print_json({"by": by.value, "parts": rows, "balance_holds": holds})
    else:
        _print(by, parts)
    if not holds:
        raise typer.Exit(1)


def recount(manifest: Manifest, *, as_json: bool) -> None:
    """Count every unit, and correct the balance that is kept where it is wrong.

    Raises:
        typer.Exit: 1 if it was.
    """
    wrong = manifest.tallies.recount()
    manifest.tallies.correct(wrong)
    if as_json:
        print_json(
            {
                "wrong": [
                    {"kind": kind, "stream": stream, "name": name, "state": state}
                    | {"kept": kept, "counted": counted}
                    for (kind, stream, name, state), (kept, counted) in wrong.items()
                ]
            }
        )
    elif wrong:
        console().print(
            f"{len(wrong):,} of the kept numbers were wrong, and are corrected. Somebody wrote to "
            "the manifest by hand, or a trigger of it is missing: open it with this version."
        )
    else:
        console().print("Every unit was counted: the kept balance is right.")
    if wrong:
        raise typer.Exit(1)


def _numbers(part: Part) -> dict[str, int]:
    return TypeBalance(part.resource_type, part.balance).as_numbers()


def _print(by: By, parts: Sequence[Part]) -> None:
    table = plain_table(f"Balance by {by.value}")
    table.add_column("type", no_wrap=True)
    table.add_column(by.value, overflow="fold")
    for name in ("rows", *STATE_STYLES):
        table.add_column(name, justify="right", style=STATE_STYLES.get(name, ""), overflow="fold")
    shown = sorted(parts, key=lambda each: each.name.zfill(20))[-_SHOWN:]
    for each in parts:
        if each in shown:
            numbers = (f"{number:,}" if number else "·" for number in _numbers(each).values())
            table.add_row(each.resource_type, each.name or _NONE[by.value], *numbers)
    if len(parts) > len(shown):
        table.caption = f"The latest {len(shown)} of {len(parts):,}; --json has all."
    console().print(table)
