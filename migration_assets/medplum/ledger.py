"""What the callers of one Medplum client know of its quota together (contract §8). Pure.

Belongs here: points left as last heard, points set aside for requests under way, and what that
leaves for one more. Does not belong here: waiting, or where the ledger lies (``quota``).

The server's count is the truth, and holds what everybody spent; but it is heard with answers only,
so that two callers who heard 5,000 would spend them twice. Therefore points are set aside before a
request is sent, and given back when its answer told the truth. A header speaks of the window it
was made in: within one the count only falls, so the lowest heard is the latest; one whose end lies
half a window later than ours speaks of the next.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import orjson

_IN_FLIGHT = 30.0
"""Seconds that points stay set aside at least, also beyond the window's end: a long bundle spends
in the next window what it was granted in this one. After that its sender is taken for dead."""

GLANCE = 0.1
"""Seconds before another look at points that are set aside and may be given back."""


@dataclass(frozen=True)
class Aside:
    """Points set aside for one request, until it is answered or ``until`` (epoch seconds)."""

    points: int
    until: float


@dataclass(frozen=True)
class Granted:
    """What may be spent: at least what was asked for; None where no quota is known of."""

    points: int | None


@dataclass(frozen=True)
class Refused:
    """Seconds until it makes sense to ask again; ``ends_at`` if that is the window's end."""

    seconds: float
    ends_at: float | None = None


@dataclass(frozen=True)
class Ledger:
    """What is known of one client's quota.

    ``limit`` is the points of a whole window, as far as seen; ``left`` those of this one as last
    heard, None before anything was; ``ends_at`` when it has surely ended; ``span`` the longest time
    to an end ever heard. ``unlimited``: answers came, and none told of a quota.
    """

    limit: int | None = None
    left: int | None = None
    ends_at: float | None = None
    span: float = 0.0
    unlimited: bool = False
    aside: Mapping[str, Aside] = field(default_factory=dict)

    @property
    def set_aside(self) -> int:
        """Points of all requests under way."""
        return sum(each.points for each in self.aside.values())

    @property
    def free(self) -> int | None:
        """Points nobody spent or set aside, as far as known; None when nothing is known."""
        whole = self.limit if self.left is None else self.left
        return None if whole is None else max(0, whole - self.set_aside)

    def at(self, now: float) -> "Ledger":
        """The same, with what is over forgotten: a window that ended, requests long under way."""
        kept = {name: each for name, each in self.aside.items() if each.until > now}
        current = replace(self, aside=kept)
        return current.ended() if self.ends_at is not None and now >= self.ends_at else current

    def ended(self) -> "Ledger":
        """The same in a new window of which nothing was heard yet."""
        return replace(self, left=None, ends_at=None)

    def ask(self, least: int, now: float) -> Granted | Refused:
        """Whether at least ``least`` points may be spent; grants all that are free.

        As long as no quota was ever heard of, one request goes ahead to hear it. What costs more
        than any window seen goes when it has a fresh one to itself.
        """
        free = self.free
        if free is None or self.limit is None:
            return Granted(None) if self.unlimited or not self.aside else Refused(GLANCE)
        if free >= (min(least, self.limit) if self.left is None else least):
            return Granted(free)
        if self.left is None or self.ends_at is None or self.left >= least:
            return Refused(GLANCE)
        return Refused(self.ends_at - now, self.ends_at)

    def setting_aside(self, name: str, points: int, now: float) -> "Ledger":
        """With points set aside under a name, in place of what was."""
        until = max(self.ends_at or 0.0, now + _IN_FLIGHT)
        return replace(self, aside={**self.aside, name: Aside(points, until)})

    def given_back(self, name: str, *, spent: bool) -> "Ledger":
        """Without what was set aside; ``spent``: no answer told, so all of it counts as spent."""
        kept = {other: each for other, each in self.aside.items() if other != name}
        left = self.left
        if spent and left is not None and name in self.aside:
            left = max(0, left - self.aside[name].points)
        silent = self.limit is None and not spent
        return replace(self, aside=kept, left=left, unlimited=self.unlimited or silent)

    def heard(self, points: int | None, seconds: float, now: float) -> "Ledger":
        """After an answer told of points left and seconds until the end, or of none (None)."""
        if points is None:
            return replace(self, unlimited=self.limit is None)
        ends_at, span = now + seconds, max(self.span, seconds)
        told = replace(self, unlimited=False, span=span)
        if self.ends_at is None or ends_at > self.ends_at + span / 2:
            limit = max(points, min(self.limit or points, points + self.set_aside))
            return replace(told, limit=limit, left=points, ends_at=ends_at)
        if ends_at < self.ends_at - span / 2:
            return told  # of a window that is over
        return replace(
            told,
            limit=max(self.limit or 0, points),
            left=points if self.left is None else min(self.left, points),
            ends_at=min(self.ends_at, ends_at),
        )

    def throttled(self, seconds: float | None, now: float) -> "Ledger":
        """After a 429: nothing is left until the named wait is over, else the window, else 1 s."""
        ends_at = now + seconds if seconds else self.ends_at
        return replace(self, left=0, ends_at=ends_at if ends_at is not None else now + 1.0)

    def to_text(self) -> str:
        """As it is kept where other processes find it."""
        return orjson.dumps(asdict(self)).decode()


def from_text(text: str | None) -> Ledger:
    """What ``to_text`` wrote; an empty ledger for none, or one from another version of us."""
    try:
        fields: dict[str, Any] = orjson.loads(text or "{}")
        aside = {name: Aside(**each) for name, each in fields.pop("aside", {}).items()}
        return Ledger(**fields, aside=aside)
    except (orjson.JSONDecodeError, TypeError, AttributeError):
        return Ledger()
