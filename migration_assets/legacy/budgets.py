"""Client-side limits: half of all vendors announce their quota in no header.

Belongs here: how long to wait before a request may be made. Does not belong here: what a server
asks for after the fact (``waits``), or where requests are remembered: ``RequestHistory`` is the
seam. In memory, a budget is shared by the streams of one puller; with a history that several
processes hold (``Connections`` hands over the manifest), by all that name the same budget.
"""

import datetime as dt
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from migration_assets.legacy.description import Limit

_MARGIN = 0.01  # seconds; clocks are not compared to the last digit

_WRONG_CLOCK = 60.0
"""Seconds ahead of us. Machines differ by less; what lies further in the future was noted by a
clock that was wrong, and would bar every request until then if it counted."""


class RequestsMade(Protocol):
    """The requests of one budget, while nobody else may look at or add to them."""

    def ago(self, number: int) -> float | None:
        """When the ``number``-th last request was made (1 is the last), in epoch seconds."""

    def add(self, at: float) -> None:
        """Count one more request."""


class RequestHistory(Protocol):
    """Remembers when the requests of each budget were made."""

    def requests_made(self, budget: str, *, depth: int) -> AbstractContextManager[RequestsMade]:
        """The requests of a budget, for one caller at a time; at least ``depth`` are kept."""


class Budget:
    """Counts requests against limits and sleeps until one more is allowed. Thread-safe.

    Requests are counted by the clock of whoever makes them, read when it is his turn: several
    machines on one budget need clocks that agree (NTP).
    """

    def __init__(
        self,
        limits: Sequence[Limit],
        name: str = "",
        history: RequestHistory | None = None,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._limits = tuple(limits)
        self._depth = max((one.requests for one in limits), default=0)
        self._name = name
        self._history = history if history is not None else RequestsInMemory()
        self._clock = clock
        self._sleep = sleep

    def take(self) -> None:
        """Return as soon as a request is allowed, having counted it; free without limits.

        Raises:
            Transient: the history cannot be read or written now.
        """
        while self._limits and (wait := self._wait()) > 0:
            self._sleep(wait + _MARGIN)

    def _wait(self) -> float:
        """Seconds to wait before asking again; 0 if a request is allowed, and counted."""
        with self._history.requests_made(self._name, depth=self._depth) as made:
            now = self._clock()  # not before it is our turn: waiting for that takes time too
            wait = max(_until_it_fits(one, made.ago(one.requests), now) for one in self._limits)
            if wait <= 0:
                made.add(now)
        return wait


def _until_it_fits(limit: Limit, bound: float | None, now: float) -> float:
    """Seconds until one more request fits; ``bound`` is the request that has to be out by then."""
    if bound is None or bound > now + _WRONG_CLOCK:
        return 0.0
    if not limit.holds(dt.datetime.fromtimestamp(now, dt.UTC)):
        return 0.0
    span = limit.per_seconds
    if not limit.clock_aligned:
        return bound + span - now
    begin = now // span * span
    return begin + span - now if bound >= begin else 0.0


class RequestsInMemory:
    """A ``RequestHistory`` of this process; thread-safe."""

    def __init__(self) -> None:
        self._made: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def requests_made(self, budget: str, *, depth: int) -> Iterator[RequestsMade]:
        """The requests of a budget, under a lock."""
        with self._lock:
            kept = self._made.setdefault(budget, deque(maxlen=depth))
            if kept.maxlen is not None and kept.maxlen < depth:
                kept = self._made[budget] = deque(kept, maxlen=depth)
            yield _Remembered(kept)


class _Remembered:
    def __init__(self, kept: deque[float]) -> None:
        self._kept = kept

    def ago(self, number: int) -> float | None:
        return self._kept[-number] if number <= len(self._kept) else None

    def add(self, at: float) -> None:
        self._kept.append(at)
