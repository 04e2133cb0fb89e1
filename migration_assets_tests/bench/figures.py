"""A measured figure: its value, its goal, and what it is compared with.

Belongs here: what every benchmark returns, how it is printed, and where it is kept. Does not
belong here: measuring, or judging: a missed goal is said, never raised.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """One line of `make bench`.

    ``most`` or ``least`` is the goal; ``beside`` is the floor or comparison of the same run.
    """

    name: str
    value: float
    unit: str = ""
    most: float | None = None
    least: float | None = None
    beside: str = ""

    @property
    def goal(self) -> str:
        """The goal in words, and whether it was missed; empty when there is none."""
        if self.most is not None:
            return f"goal ≤ {self.most:g}{', MISSED' if self.value > self.most else ''}"
        if self.least is not None:
            return f"goal ≥ {self.least:g}{', MISSED' if self.value < self.least else ''}"
        return ""

    def __str__(self) -> str:
        shown = f"{self.value:,.0f}" if abs(self.value) >= 1000 else f"{self.value:.5g}"
        value = f"{shown} {self.unit}".strip()
        return " · ".join(
            each for each in (f"{self.name}: {value}", self.goal, self.beside) if each
        )


def keep(figures: Iterable[Figure], file: Path) -> None:
    """Add figures to a JSON file, replacing those of the same name."""
    kept: dict[str, float] = json.loads(file.read_text()) if file.exists() else {}
    kept |= {each.name: each.value for each in figures}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")
