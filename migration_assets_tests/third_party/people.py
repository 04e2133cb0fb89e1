"""Invented rows to begin with, and the writer that inserts, updates and deletes meanwhile.

Belongs here: what is changed, and in which order; the same for the same seed. Does not belong here:
how a server takes a change.
"""

import random
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Protocol, Self

YEAR = timedelta(days=365)
_IMPORTED = 0.25  # of the rows came in one import and have one change time: more than a page
_UPDATES, _INSERTS = 0.6, 0.3  # of the changes; the rest are deletions
_MOST_DELETED = 0.04  # of the rows: the sweep stops and asks when more than 5 % are missing
_STILL_SECONDS = 60


@dataclass(frozen=True)
class Seed:
    """A row that is there from the beginning."""

    key: int
    text: str
    changed: datetime


class Server(Protocol):
    """A running server, seen by those who work with it."""

    @property
    def streams(self) -> tuple[str, ...]:
        """Its streams."""

    def insert(self, stream: str, key: int, text: str) -> None:
        """Add a row."""

    def update(self, stream: str, key: int, text: str) -> None:
        """Change a row."""

    def delete(self, stream: str, key: int) -> None:
        """Delete a row, hard if the server can."""

    def rows(self, stream: str) -> Mapping[str, Any]:
        """All its rows by key, as its API shows them, found in another way than we pull."""


def seeds(count: int, *, seed: int, now: datetime) -> list[Seed]:
    """``count`` rows, changed at whole milliseconds of the year before ``now``."""
    dice = random.Random(seed)  # noqa: S311 - the same rows for the same seed
    imported = now - YEAR / 2
    ages = [YEAR * dice.random() for _ in range(count)]
    moments = [imported if dice.random() < _IMPORTED else now - age for age in ages]
    return [
        Seed(key, _text(dice), moment.replace(microsecond=moment.microsecond // 1000 * 1000))
        for key, moment in enumerate(moments, start=1)
    ]


def _text(dice: random.Random) -> str:
    return f"note {dice.getrandbits(64):016x} " + "x" * dice.randrange(80)


class Writer:
    """Changes a server in a thread of its own for as long as the context lasts.

    ``pause`` is how long it rests after each change. Leaving the context waits for the change under
    way, and raises what went wrong.
    """

    def __init__(self, server: Server, count: int, *, seed: int, pause: float = 0) -> None:
        self._server = server
        self._dice = random.Random(seed)  # noqa: S311 - the same changes for the same seed
        self._pause = pause
        self._live: dict[str, Sequence[int]] = {
            each: list(range(1, count + 1)) for each in server.streams
        }
        self._next = dict.fromkeys(server.streams, count + 1)
        self._may_delete = dict.fromkeys(server.streams, int(count * _MOST_DELETED))
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="writer")
        self._started = time.monotonic()
        self.changes = 0
        self.seconds = 0.0

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(_STILL_SECONDS)
        self.seconds = time.monotonic() - self._started
        if error is None and (self._failure or self._thread.is_alive()):
            raise RuntimeError("the writer failed") from self._failure

    @property
    def at_work(self) -> bool:
        """False once it has failed: then there is nothing to wait for."""
        return self._thread.is_alive()

    def _work(self) -> None:
        try:
            while not self._stop.is_set():
                self._change(self._dice.choice(self._server.streams))
                self.changes += 1
                self._stop.wait(self._pause)
        except Exception as error:  # noqa: BLE001 - raised again where the thread is joined
            self._failure = error

    def _change(self, stream: str) -> None:
        live, what = list(self._live[stream]), self._dice.random()
        place = self._dice.randrange(len(live))
        if what < _UPDATES:
            self._server.update(stream, live[place], _text(self._dice))
        elif what < _UPDATES + _INSERTS or not self._may_delete[stream]:
            key = self._next[stream]
            self._next[stream] += 1
            self._server.insert(stream, key, _text(self._dice))
            self._live[stream] = [*live, key]
        else:
            self._may_delete[stream] -= 1
            self._server.delete(stream, live.pop(place))
            self._live[stream] = live


def utc_now() -> datetime:
    """The real clock: these servers have no other."""
    return datetime.now(UTC)
