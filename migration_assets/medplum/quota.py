"""Pacing by Medplum's own count: the ``RateLimit`` header of every answer (contract §8).

Belongs here: reading the header, what an entry costs, waiting until a request may be sent, and the
seam by which processes share what they know. Does not belong here: what follows from what was
heard (``ledger``). The quota is points per minute and client in a fixed window; failing calls do
not prolong it, so the pacer waits for the window's end and then spends again.
"""

import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from migration_assets.errors import Transient
from migration_assets.medplum.ledger import Ledger, Refused, from_text

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


class Page(Protocol):
    """A ledger's text, while nobody else may look at or change it."""

    @property
    def text(self) -> str | None:
        """As it was last written, or None."""

    def write(self, text: str) -> None:
        """Replace it."""


class Ledgers(Protocol):
    """Keeps ledgers by name, where every process that shares them finds them."""

    def ledger(self, name: str) -> AbstractContextManager[Page]:
        """The ledger of that name, for one caller at a time."""


class Pacer:
    """Sets points aside before a request is sent, and waits where they are not there.

    Several threads may share one. Processes share what they know through ``ledgers``, under the
    same ``name`` and on clocks that agree: ``clock`` is then the wall clock, in epoch seconds.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        ledgers: Ledgers | None = None,
        name: str = "",
        new_uuid: Callable[[], uuid.UUID] = uuid.uuid4,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._ledgers = ledgers if ledgers is not None else LedgersInMemory()
        self._name = name
        self._new_uuid = new_uuid
        self._of_thread = threading.local()
        self._counting = threading.Lock()
        self.waited_seconds = 0.0
        self.points_spent = 0
        self.answers_heard = 0

    def reserve(self, least: int, most: int | None = None) -> "Grant":
        """Set points aside as soon as ``least`` are there, and up to ``most`` (else ``least``).

        Raises:
            Transient: the ledger cannot be read or written now.
        """
        while isinstance(said := self._offer(least, most), Refused):
            self._wait(said)
        return said

    def offer(self, least: int, most: int | None = None) -> "Grant | None":
        """Set points aside as ``reserve`` does if they are there now, else None."""
        said = self._offer(least, most)
        return None if isinstance(said, Refused) else said

    def heard(self, header: str | None) -> None:
        """Take note of an answer's header. Never raises: the answer itself must not get lost."""
        quota = read_quota(header)
        points, seconds = (quota.points, quota.seconds) if quota else (None, 0.0)
        self._of_thread.heard = self.heard_in_thread + 1
        with self._counting:
            self.answers_heard += 1
        with suppress(Transient):
            self.change(lambda ledger, now: ledger.heard(points, seconds, now))

    def note_spent(self, points: int) -> None:
        """Count points of our own, as contract §8 prices them: the header counts everybody's."""
        with self._counting:
            self.points_spent += points

    @property
    def heard_in_thread(self) -> int:
        """How many answers this thread heard."""
        count: int = getattr(self._of_thread, "heard", 0)
        return count

    @property
    def ledger(self) -> Ledger:
        """What is known now."""
        return self.change(lambda ledger, _now: ledger)

    @property
    def points(self) -> int | None:
        """Points free now, as far as heard; None when nothing is known or the window has ended."""
        known = self.ledger
        return known.free if known.left is not None else None

    def wait_for(self, points: int) -> None:
        """Wait until ``points`` may be spent, without setting them aside."""
        while isinstance(said := self.ledger.ask(points, self._clock()), Refused):
            self._wait(said)

    def wait_out(self, named: float | None = None) -> None:
        """Wait until the quota is back: the named seconds, else the window's end, else a second."""
        known = self.change(lambda ledger, now: ledger.throttled(named, now))
        ends_at = known.ends_at or 0.0
        self._wait(Refused(max(0.0, ends_at - self._clock()), ends_at))

    def change(self, what: Callable[[Ledger, float], Ledger]) -> Ledger:
        """Change the ledger in one turn, and return it as it is then."""
        with self._ledgers.ledger(self._name) as page:
            now = self._clock()  # not before it is our turn: waiting for that takes time too
            before = from_text(page.text)
            after = what(before.at(now), now)
            if after != before:
                page.write(after.to_text())
        return after

    def _offer(self, least: int, most: int | None) -> "Grant | Refused":
        name, most = self._new_uuid().hex, max(least, most or 0)
        said: list[Grant | Refused] = []

        def set_aside(ledger: Ledger, now: float) -> Ledger:
            answer = ledger.ask(least, now)
            if isinstance(answer, Refused):
                said.append(answer)
                return ledger
            points = None if answer.points is None else min(answer.points, most)
            aside = most if points is None else points
            said.append(Grant(self, name, points, aside))
            return ledger.setting_aside(name, aside, now)

        self.change(set_aside)
        return said[0]

    def _wait(self, refused: Refused) -> None:
        """Wait, and forget the window that ends meanwhile, if nobody did."""
        self.waited_seconds += refused.seconds
        self._sleep(refused.seconds)
        if refused.ends_at is not None:
            self.change(
                lambda ledger, _: ledger.ended() if ledger.ends_at == refused.ends_at else ledger
            )


class Grant:
    """Points set aside for one request, which is sent inside ``with``.

    If it ends in an error and no answer was heard, the server may have spent them, or still be
    about to: they count as spent, until the window ends or an answer tells better.
    """

    def __init__(self, pacer: Pacer, name: str, points: int | None, aside: int) -> None:
        self._pacer = pacer
        self._aside = aside
        self._name = name
        self._heard = 0
        self.points = points
        """None where no quota is known of."""

    def keep(self, points: int) -> None:
        """Give back what is above ``points``."""
        self._aside = points
        with suppress(Transient):  # it would only be set aside for too long
            self._pacer.change(lambda ledger, now: ledger.setting_aside(self._name, points, now))

    def __enter__(self) -> Self:
        self._heard = self._pacer.heard_in_thread
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        unanswered = kind is not None and self._pacer.heard_in_thread == self._heard
        if kind is None or unanswered:  # what is refused, a 429 too, costs nothing
            self._pacer.note_spent(self._aside)
        with suppress(Transient):  # then it lapses by itself
            self._pacer.change(lambda ledger, _now: ledger.given_back(self._name, spent=unanswered))


class LedgersInMemory:
    """Ledgers of this process; thread-safe."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._lock = threading.Lock()

    @contextmanager
    def ledger(self, name: str) -> Iterator[Page]:
        """The ledger of that name, under a lock."""
        with self._lock:
            yield _PageInMemory(self._texts, name)


class _PageInMemory:
    def __init__(self, texts: dict[str, str], name: str) -> None:
        self._texts = texts
        self._name = name

    @property
    def text(self) -> str | None:
        return self._texts.get(self._name)

    def write(self, text: str) -> None:
        self._texts[self._name] = text
