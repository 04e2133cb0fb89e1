"""How the verbs print: tables for people, JSON for machines.

Belongs here: tables that more than one verb shows. On a terminal they fit its width; piped, each
row stays one line.
"""

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import orjson
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
    table = Table(title="Balance: every row has an outcome", title_justify="left")
    table.add_column("type")
    for name in ("rows", *STATE_STYLES):
        table.add_column(name, justify="right", style=STATE_STYLES.get(name, ""))
    total = dict.fromkeys(("eligible", *STATE_STYLES), 0)
    for each in balances:
        numbers = each.as_numbers()
        name = f"  with {each.within}: {each.resource_type}" if each.within else each.resource_type
        table.add_row(name, *(_number(number) for number in numbers.values()))
        if each.within is None:
            total = {key: total[key] + numbers[key] for key in total}
    table.add_section()
    table.add_row("all rows", *(_number(number) for number in total.values()), style="bold")
    return table


def exceptions_table(found: Iterable[tuple[str, Exceptions]]) -> Table:
    """What did not arrive, why, and a few keys to look at."""
    table = Table(title="What did not arrive, and why", title_justify="left")
    for name in ("type", "state", "reason", "at"):
        table.add_column(name, overflow="fold")
    table.add_column("rows", justify="right")
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
            ", ".join(_short(key) for key in each.example_keys),
        )
    return table


def _number(number: int) -> str:
    return f"{number:,}" if number else "·"


def _short(key: str, longest: int = 24) -> str:
    shown = key.encode("unicode_escape").decode() if not key.isprintable() else key
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"
