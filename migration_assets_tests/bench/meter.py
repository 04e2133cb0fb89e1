"""Points by the server's own account: the difference of two ``RateLimit`` headers.

Belongs here: reading the header beside the product, not through it, and room in a quota window to
measure in. Does not belong here: what the points are spent on. Whatever else the same client does
meanwhile is counted too: measure with a client of its own.
"""

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from migration_assets.errors import Permanent, Transient
from migration_assets_tests.bench.server import Server

_POLICY = re.compile(r'"fhirInteractions";r=(\d+);t=(\d+)')
_ROOM_SECONDS = 25.0  # a hundred writes took 3 s on a real server (contract §3)
_SAME_WINDOW = 5.0  # of its end, as two headers tell it in whole seconds


@dataclass(frozen=True)
class Left:
    """Points left in the window, and when it ends by the server's clock of waits."""

    points: int
    ends_at: float


class Meter:
    """Counts what one piece of work costs on a server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._session = server.session()
        self._absent = f"{server.fhir}/Patient/{uuid.uuid4()}"

    def look(self) -> Left:
        """What is left now; looking costs a read of what is not there."""
        answer = self._session.get(self._absent, timeout=60)
        left = left_by(answer.headers.get("RateLimit"), self._server.clock())
        if left is None:
            raise Permanent(
                "Measuring points needs the server's RateLimit header with fhirInteractions, and "
                f"it answered {answer.status_code} without one."
            )
        return left

    def spent_by(self, work: Callable[[], None], *, at_most: int) -> int:
        """Points that ``work`` costs; it may not need more than ``at_most``.

        Raises:
            Permanent: the whole quota is smaller than ``at_most``.
            Transient: the quota window ended while it worked.
        """
        self.make_room(at_most)
        first, before = self.look(), self.look()
        work()
        after = self.look()
        if after.points > before.points or abs(after.ends_at - before.ends_at) > _SAME_WINDOW:
            raise Transient("A quota window ended in the middle of a measurement: run it again.")
        return before.points - after.points - (first.points - before.points)

    def limit(self) -> int:
        """Points of a whole window, which is made to begin."""
        left = self.look()
        self._server.sleep(max(0.0, left.ends_at - self._server.clock()) + 1.0)
        fresh, after = self.look(), self.look()
        return 2 * fresh.points - after.points

    def make_room(self, points: int) -> None:
        """Wait, if need be, for a window with so many points and half a minute left in it.

        Raises:
            Permanent: the whole quota is smaller.
        """
        left = self.look()
        if left.points >= points and left.ends_at - self._server.clock() >= _ROOM_SECONDS:
            return
        self._server.sleep(max(0.0, left.ends_at - self._server.clock()) + 1.0)
        whole = self.look().points
        if whole < points:
            raise Permanent(
                f"Measuring needs a quota of {points} points a minute; this client has {whole}."
            )


def left_by(header: str | None, now: float) -> Left | None:
    """What a header tells, heard at ``now``."""
    found = _POLICY.search(header or "")
    return Left(int(found[1]), now + float(found[2])) if found else None
