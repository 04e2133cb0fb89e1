"""How much of a limited quota is used while work is waiting, over several of its windows.

Belongs here: a migration that needs more points than there are, the points its answers tell of, and
whether every row arrived. Does not belong here: pacing. A refused attempt burns points and writes
nothing: what it may have burnt is not counted as used.
"""

import tempfile
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import orjson
import requests

from migration_assets_tests.bench.delivery import Delivery, patients
from migration_assets_tests.bench.figures import Figure
from migration_assets_tests.bench.meter import Meter, left_by
from migration_assets_tests.bench.scratch import count
from migration_assets_tests.bench.server import Server

_WRITE = 100  # points of a plain POST (contract §8); only says how many rows fill the windows
_SECONDS = 60.0
_NEW_WINDOW = 5.0  # seconds by which its end differs from the last one's, at least
_SANDBOX_LIMIT = 50_000  # the default of a real client


@dataclass
class _Spent:
    """One quota window, as the answers in it told."""

    heard_at: float
    ends_at: float
    left: int
    throttled: int = 0


@dataclass
class _Heard:
    """What the server said of its quota in every answer it gave, to whichever thread."""

    windows: list[_Spent] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def hear(self, header: str | None, now: float, throttled: int) -> None:
        """Take note of one answer; of two at once the later may tell of the earlier window."""
        left = left_by(header, now)
        if left is None:
            return
        with self.lock:
            same = (e for e in self.windows if abs(e.ends_at - left.ends_at) <= _NEW_WINDOW)
            window = next(same, None)
            if window is None:
                window = _Spent(now, left.ends_at, left.points)
                self.windows.append(window)
            window.left = min(window.left, left.points)
            window.throttled += throttled


def figures(
    server: Server, root: str, windows: int, limit: int = _SANDBOX_LIMIT
) -> Generator[Figure, None, None]:
    """Points used of those available, over so many whole windows and the beginning of another.

    ``limit`` is given to the sandbox; a real server has its own.
    """
    if server.sandbox is not None:
        server.sandbox.change(quota_per_minute=limit)
    limit = Meter(server).limit()
    number = int((windows + 0.3) * limit / _WRITE)
    before = count(server, root).get("Patient", 0)
    with tempfile.TemporaryDirectory() as folder:
        delivery = Delivery(server, Path(folder))
        delivery.land("Patient", patients(number, "q"))
        Meter(server).limit()  # begins a window: nothing of it is spent on anything else
        with _listening(server) as heard:
            delivery.migrate("Patient")
        delivery.close()
    lost = before + number - count(server, root).get("Patient", 0)
    yield _used(heard.windows, limit, number, lost)
    yield Figure("quota_entries_lost", lost, "entries", most=0)
    if server.sandbox is not None:
        server.sandbox.change(quota_per_minute=1_000_000_000)


def _used(windows: list[_Spent], limit: int, number: int, lost: int) -> Figure:
    """Used of available, between the beginnings of the first and of the last window."""
    whole = windows[:-1]
    if not whole:
        raise AssertionError("the work fitted in one quota window: nothing was limited")
    throttled = sum(each.throttled for each in whole)
    used = sum(limit - each.left for each in whole) - _WRITE * throttled
    available = limit * (windows[-1].heard_at - windows[0].heard_at) / _SECONDS
    return Figure(
        "quota_used_of_available",
        used / available,
        least=0.98,
        beside=(
            f"{used:,} of {available:,.0f} points in {len(whole)} windows of {limit:,}; "
            f"{throttled} bundles met a 429; {lost} of {number:,} entries lost"
        ),
    )


@contextmanager
def _listening(server: Server) -> Iterator[_Heard]:
    """Hear every answer of the server, whoever in this process asked for it."""
    heard = _Heard()
    send = requests.Session.send

    def listening(self: requests.Session, request: Any, **options: Any) -> requests.Response:
        answer = send(self, request, **options)
        header = answer.headers.get("RateLimit")
        heard.hear(header, server.clock(), int(_is_throttled(answer)))
        return answer

    with patch.object(requests.Session, "send", listening):
        yield heard


def _is_throttled(answer: requests.Response) -> bool:
    if answer.status_code == requests.codes.too_many_requests:
        return True
    if b'"429"' not in answer.content:
        return False
    entries = orjson.loads(answer.content).get("entry") or []
    return any(str(e.get("response", {}).get("status")).startswith("429") for e in entries)
