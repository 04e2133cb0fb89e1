"""The balance by window, mapping version or run: the same law, from another side each time.

Belongs here: what the parts of a stream are called, and whether they add up to the whole. Does not
belong here: counting (``manifest.tallies``), or printing.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal

from migration_assets.manifest import Balance, Manifest, State
from migration_assets.manifest.tallies import Dimension
from migration_assets.mapping import Mapping

Size = Literal["monthly", "weekly", "daily"]
_EPOCH = date(1970, 1, 1)
_SUNDAY = 6


@dataclass(frozen=True)
class Part:
    """Units of one stream that have a window, version or run in common; empty: they have none."""

    resource_type: str
    name: str
    balance: Balance


@dataclass(frozen=True)
class Windows:
    """How change times are cut into partitions, as ``defs.partitions`` has Dagster cut them.

    The first window has no beginning and the one of ``today`` no end.
    """

    size: Size
    start: date
    today: date

    def named(self, day: str) -> str:
        """The partition of a day, given as its number since 1970; empty for rows without one."""
        if not day:
            return ""
        # Sources do send the year 1 and the year 9999.
        number = min(max(int(day), (self.start - _EPOCH).days), (self.today - _EPOCH).days)
        begun = self._begin(_EPOCH + timedelta(days=number))
        return max(begun, self._first()).isoformat()

    def _begin(self, day: date) -> date:
        match self.size:
            case "daily":
                return day
            case "weekly":
                return day - timedelta(days=(day.weekday() - _SUNDAY) % 7)
            case "monthly":
                return day.replace(day=1)

    def _first(self) -> date:
        """The first whole window: Dagster leaves out one that began before the start."""
        begun = self._begin(self.start)
        if begun == self.start:
            return begun
        return self._begin(begun + timedelta(days=31 if self.size == "monthly" else 7))


def balance_by(
    manifest: Manifest, mappings: Iterable[Mapping[Any]], dimension: Dimension, windows: Windows
) -> list[Part]:
    """The parts of every mapped stream, in load order; windows and runs from first to last."""
    found = manifest.tallies.by(dimension)
    parts: list[Part] = []
    for mapping in mappings:
        sums: dict[str, dict[State, int]] = {}
        for (stream, name), balance in found.items():
            if stream == mapping.stream:
                called = windows.named(name) if dimension is Dimension.WINDOW else name
                into = sums.setdefault(called, dict.fromkeys(State, 0))
                for state, number in balance.by_state.items():
                    into[state] += number
        in_order = sorted(sums.items(), key=lambda each: (each[0].zfill(20), each[0]))
        parts += [
            Part(mapping.resource_type, name, Balance(sum(states.values()), states))
            for name, states in in_order
        ]
    return parts


def adds_up(manifest: Manifest, mappings: Iterable[Mapping[Any]], parts: Iterable[Part]) -> bool:
    """Whether the parts of every stream come to its balance: every row is in exactly one."""
    listed, whole = list(parts), manifest.balances()
    for mapping in mappings:
        mine = [each.balance for each in listed if each.resource_type == mapping.resource_type]
        all_of_it = whole.get(mapping.stream, Balance(0, dict.fromkeys(State, 0)))
        if sum(each.eligible for each in mine) != all_of_it.eligible:
            return False
        if any(
            sum(each.by_state[one] for each in mine) != all_of_it.by_state[one] for one in State
        ):
            return False
    return True
