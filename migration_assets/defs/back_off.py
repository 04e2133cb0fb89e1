"""What the sensor remembers between ticks: who rests after failures, and what it showed last.

Belongs here: the cursor's content, and how long to rest. Does not belong here: how far anything was
pulled: that is the mark, which stands with the rows. A cursor that is lost costs a few questions.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any

EVERYTHING = "*"
"""What rests when a run failed as a whole."""

_FIRST = timedelta(seconds=30)
_LONGEST = timedelta(minutes=30)


@dataclass(frozen=True)
class Rest:
    """After so many failures in a row, nothing before ``until`` (seconds since 1970)."""

    failures: int
    until: float
    by_run: bool
    """A run failed: it left something undone, so another must follow, whatever the source says."""


@dataclass
class BackOff:
    """The sensor's memory; ``counted`` is the last run whose fate is known."""

    resting: dict[str, Rest] = field(default_factory=dict)
    counted: str = ""
    shown: dict[str, str] = field(default_factory=dict)
    turn: int = 0
    """How many streams were asked in all: each tick goes on where the last one ran out of time."""
    asked_at: float = 0.0
    """When the source was asked last (seconds since 1970)."""

    def rests(self, name: str, now: float) -> bool:
        """Whether a stream is to be left alone."""
        rest = self.resting.get(name)
        return rest is not None and rest.until > now

    def owes(self, name: str, now: float) -> bool:
        """Whether its last run failed and it has rested enough."""
        rest = self.resting.get(name) or self.resting.get(EVERYTHING)
        return rest is not None and rest.by_run and rest.until <= now

    def fail(self, name: str, now: float, *, by_run: bool) -> None:
        """Let it rest, twice as long with every failure in a row."""
        before = self.resting.get(name)
        failures = (before.failures if before else 0) + 1
        owing = by_run or (before is not None and before.by_run)
        self.resting[name] = Rest(failures, now + rest_after(failures).total_seconds(), owing)

    def recover(self, names: Iterable[str]) -> None:
        """What went well owes nothing."""
        for name in names:
            self.resting.pop(name, None)

    def answered(self, name: str) -> None:
        """The source answers again; what a run owes it still owes."""
        rest = self.resting.get(name)
        if rest is not None and not rest.by_run:
            del self.resting[name]

    def write(self) -> str:
        """The cursor."""
        return json.dumps(asdict(self), sort_keys=True)


def read_back_off(cursor: str | None) -> BackOff:
    """What a cursor says; a new beginning where it says nothing that is understood."""
    try:
        said: Any = json.loads(cursor or "{}")
        return BackOff(
            resting={name: Rest(**rest) for name, rest in said.get("resting", {}).items()},
            counted=str(said.get("counted", "")),
            shown=dict(said.get("shown", {})),
            turn=int(said.get("turn", 0)),
            asked_at=float(said.get("asked_at", 0)),
        )
    except (ValueError, TypeError, AttributeError):  # of an older version, or typed by hand
        return BackOff()


def rest_after(failures: int) -> timedelta:
    """How long to rest after so many failures in a row."""
    grown: timedelta = _FIRST * 2 ** min(failures, 10)
    return min(_LONGEST, grown)
