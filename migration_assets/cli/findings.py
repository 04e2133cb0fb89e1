"""One claim of ``migration check`` and how it turned out: for people and for machines.

Belongs here: the value, and printing it. Does not belong here: what is checked.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from rich.padding import Padding
from rich.text import Text

from migration_assets.cli.output import console
from migration_assets.errors import MigrationError

_MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "failed": ("✗", "red")}
_INDENT = (0, 0, 0, 4)
_BETWEEN = " · "


@dataclass(frozen=True)
class Finding:
    """One claim and how it turned out; ``verdict`` is ok, warning or failed.

    ``details`` are facts in few words, ``warnings`` sentences about what to look at, and ``seen``
    all of it as fields.
    """

    claim: str
    verdict: str
    told: str
    details: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    seen: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Every field, flat; what was not looked at is left out."""
        plain = {"claim": self.claim, "verdict": self.verdict, "told": self.told}
        return {**plain, **({"seen": self.seen} if self.seen else {})}


def tried(claim: str, what: Callable[[], Any], told: Callable[[Any], str]) -> tuple[Any, Finding]:
    """What was made, or None, and the finding; an expected error is a failed one."""
    try:
        made = what()
        return made, Finding(claim, "ok", told(made))
    except MigrationError as error:
        return None, Finding(claim, "failed", str(error))


def print_finding(each: Finding) -> None:
    """A line for the claim; below it, indented, what was seen and what to look at."""
    mark, style = _MARKS[each.verdict]
    out = console()
    out.print(Text.assemble((f"{mark} ", style), (each.claim, "bold"), ": ", each.told))
    for line in _lines(each.details, out.width - _INDENT[-1]):
        out.print(Padding(Text(line, style="dim"), _INDENT, expand=False))
    for warning in each.warnings:
        out.print(Padding(Text.assemble(("! ", "yellow"), warning), _INDENT, expand=False))


def _lines(details: Iterable[str], width: int) -> Iterator[str]:
    """Facts side by side, a line broken only between two of them."""
    line = ""
    for each in details:
        if line and len(line) + len(_BETWEEN) + len(each) > width:
            yield line
            line = each
        else:
            line = f"{line}{_BETWEEN}{each}" if line else each
    if line:
        yield line
