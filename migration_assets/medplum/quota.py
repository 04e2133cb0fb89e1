"""Pacing by Medplum's own count: the ``RateLimit`` header of every answer (contract §8).

Belongs here: reading the header, what an entry costs, and how long to wait before the next
bundle. The quota is points per minute and client in a fixed window; failing calls do not prolong
it, so the pacer waits for the window's end and then spends again.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

_POLICY = re.compile(r'"fhirInteractions";r=(\d+);t=(\d+)')

WRITE_POINTS = 100
CONDITIONAL_POINTS = 140  # a conditional PUT in a batch that creates; 120 when it matches
SEARCH_POINTS = 20


@dataclass(frozen=True)
class Quota:
    """Points left in the window and seconds until it ends."""

    points: int
    seconds: float


def read_quota(header: str | None) -> Quota | None:
    """The FHIR quota a ``RateLimit`` header tells of, if it does."""
    found = _POLICY.search(header or "")
    return Quota(int(found[1]), float(found[2])) if found else None


class Pacer:
    """Keeps the last quota heard of, and waits when the next request would not fit in it."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._points: int | None = None
        self._ends_at = 0.0
        self.waited_seconds = 0.0

    def heard(self, header: str | None) -> None:
        """Take note of an answer's header."""
        quota = read_quota(header)
        if quota is not None:
            self._points = quota.points
            self._ends_at = self._clock() + quota.seconds

    @property
    def points(self) -> int | None:
        """Points left now, as far as known; None when nothing is known or the window has ended."""
        return self._points if self._clock() < self._ends_at else None

    def wait_for(self, points: int) -> None:
        """Wait until ``points`` may be spent; returns at once while they are there."""
        left = self.points
        if left is not None and left < points:
            self.wait(self._ends_at - self._clock())

    def wait_out(self, named: float | None = None) -> None:
        """Wait until the quota is back: the named seconds, else the window's end, else a second."""
        left = self._ends_at - self._clock()
        self.wait(named or (left if left > 0 else 1.0))

    def wait(self, seconds: float) -> None:
        """Wait, and forget the quota of the window that ends meanwhile."""
        if seconds > 0:
            self.waited_seconds += seconds
            self._sleep(seconds)
        self._points = None
