"""Client-side limits: half of all vendors announce their quota in no header.

Belongs here: how long to wait before a request may be made. Does not belong here: what a server
asks for after the fact (``waits``). One budget serves all streams of a source; give the same one
to several pullers of one credential. Budgets across processes are not kept here.
"""

import datetime as dt
import threading
from collections import deque
from collections.abc import Callable, Sequence

from migration_assets.legacy.description import Limit

_MARGIN = 0.01  # seconds; clocks are not compared to the last digit


class Budget:
    """Counts requests against limits and sleeps until one more is allowed. Thread-safe."""

    def __init__(
        self,
        limits: Sequence[Limit],
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._histories: list[tuple[Limit, deque[float]]] = [(one, deque()) for one in limits]
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self.waited = 0.0

    def take(self) -> None:
        """Return as soon as a request is allowed, having counted it."""
        while True:
            with self._lock:
                now = self._clock()
                wait = max((_wait(one, past, now) for one, past in self._histories), default=0.0)
                if wait <= 0:
                    for _, past in self._histories:
                        past.append(now)
                    return
                self.waited += wait + _MARGIN
            self._sleep(wait + _MARGIN)


def _wait(limit: Limit, past: deque[float], now: float) -> float:
    """Seconds until one more request fits; forgets what no longer counts."""
    span = limit.per_seconds
    begin = now // span * span if limit.clock_aligned else now - span
    while past and (past[0] < begin if limit.clock_aligned else past[0] <= begin):
        past.popleft()
    if len(past) < limit.requests or not limit.holds(dt.datetime.fromtimestamp(now, dt.UTC)):
        return 0.0
    return (begin if limit.clock_aligned else past[0]) + span - now
