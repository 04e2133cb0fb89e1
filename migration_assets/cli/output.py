"""How the verbs print: tables for people, JSON for machines.

Belongs here: tables that more than one verb shows. On a terminal they fit its width; piped, each
row stays one line.
"""

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import orjson
from rich import box
from rich.console import Console
from rich.table import Table

from migration_assets.manifest import Exceptions
from migration_assets.reconciliation.balance import TypeBalance

_PIPED_WIDTH = 160

STATE_STYLES = {
    "migrated": "green",
    "unchanged": "green",
    "skipped": "",
    "rejected": "red",
    "quarantined": "yellow",
    "pending": "cyan",
}


def console() -> Console:
    """The console of this command; wide when nobody watches, so that lines are not broken."""
    return Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH, highlight=False)


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")


def balance_table(balances: Sequence[TypeBalance]) -> Table:
    """The balance per type, and its sum over the types with rows of their own."""
    table = plain_table("Balance: every row has an outcome")
    table.add_column("type", no_wrap=True)
    for name in ("rows", *STATE_STYLES):
        style = STATE_STYLES.get(name, "")
        table.add_column(name, justify="right", style=style, overflow="fold")
    total = dict.fromkeys(("eligible", *STATE_STYLES), 0)
    for each in balances:
        numbers = each.as_numbers()
        rows, *outcomes = (_number(number) for number in numbers.values())
        if each.within:
            rows = f"({rows})"
            table.caption = "(rows) came with those of another type, and are not counted twice."
        table.add_row(each.resource_type, rows, *outcomes)
        if each.within is None:
            total = {key: total[key] + numbers[key] for key in total}
    table.add_section()
    table.add_row("all rows", *(_number(number) for number in total.values()), style="bold")
    return table


def exceptions_table(found: Iterable[tuple[str, Exceptions]]) -> Table:
    """What did not arrive, why, and a few keys to look at."""
    table = plain_table("What did not arrive, and why")
    for name in ("type", "state", "reason"):
        table.add_column(name, no_wrap=True)
    table.add_column("at", overflow="fold")
    table.add_column("rows", justify="right", no_wrap=True)
    table.add_column("for example", overflow="fold")
    for resource_type, each in found:
        table.add_row(
            resource_type,
            f"[{STATE_STYLES[each.state]}]{each.state}[/]"
            if STATE_STYLES[each.state]
            else each.state,
            each.reason,
            each.field,
            str(each.count),
            ", ".join(short_key(key) for key in each.example_keys),
        )
    return table


def plain_table(title: str) -> Table:
    """An empty table as all verbs show them.

    Without frames: 80 columns are to hold a type's name and seven numbers.
    """
    return Table(
        title=f"\n{title}",
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=0,
    )


def _number(number: int) -> str:
    return f"{number:,}" if number else "·"


def short_key(key: str, longest: int = 24) -> str:
    """A key on one line: escaped where it cannot be printed, cut where it is long."""
    shown = key.encode("unicode_escape").decode() if not key.isprintable() else key
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"
