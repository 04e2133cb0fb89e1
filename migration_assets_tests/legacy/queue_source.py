"""A source with a queue as athenahealth keeps one, on a virtual clock, and rude on request.

Belongs here: what the source does with a request, and the ways a request may go wrong. Does not
belong here: what must hold (the tests say it).
"""

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import format_datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

from migration_assets_tests.legacy.legacy_server import Asked, Reply, json_reply

EASTERN = ZoneInfo("America/New_York")
WALL = "%m/%d/%Y %H:%M:%S"

Fault = Literal["none", "refused", "lost", "late"]
"""What becomes of a request: answered, a 503 before any effect, an answer cut off after it took
effect, or cut off and taking effect only before the request after the next, dated back to when it
came."""

Order = Literal["oldest first", "newest first", "one per patient"]
"""What a queue shows first; in the last it holds a patient's latest change only, oldest first."""


@dataclass(frozen=True)
class Event:
    """One change of a patient: what the row held right after it."""

    number: int
    patient: str

    @property
    def row(self) -> dict[str, Any]:
        """As the source shows it."""
        return {"patientid": self.patient, "version": self.number}


@dataclass
class QueueSource:
    """Serves ``changed``. ``faults`` befall requests that show, the others those that take.

    ``taken`` remembers the wall time of Eastern at which an event was taken: no more, so that in
    the repeated hour of autumn it cannot tell which one it was.
    """

    now: dt.datetime
    order: Order = "oldest first"
    largest_page: int = 1_000
    faults: Iterator[Fault] = field(default_factory=lambda: iter(()))
    faults_of_takes: Iterator[Fault] = field(default_factory=lambda: iter(()))
    before_each: Callable[[], None] = lambda: None
    on_taking: Callable[[list[Event]], None] = lambda _events: None
    unread: list[Event] = field(default_factory=list)
    taken: list[tuple[dt.datetime, Event]] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    _late: list[tuple[int, Asked, dt.datetime]] = field(default_factory=list)

    def change(self, patient: str) -> None:
        """Someone works."""
        event = Event(len(self.events) + 1, patient)
        self.events.append(event)
        if self.order == "one per patient":
            self.unread = [one for one in self.unread if one.patient != patient]
        self.unread.insert(0 if self.order == "newest first" else len(self.unread), event)

    def serve(self, asked: Asked) -> Reply:
        """Answer, or do not, as the next fault says."""
        self.now += dt.timedelta(seconds=0.7)
        self.before_each()
        for due, late, came in self._late:
            if due == len(self.asked):
                self._shown(late, came)
        self.asked.append(asked)
        fault = next(self.faults_of_takes if _takes(asked) else self.faults, "none")
        date = format_datetime(self.now.astimezone(dt.UTC), usegmt=True)
        if fault == "refused":
            return Reply(b"", 503, {"Date": date})
        if fault == "late":
            self._late.append((len(self.asked) + 1, asked, self.now))
            return Reply(b"{", headers={"Date": date}, missing=100)
        body = self._shown(asked, self.now)
        if fault == "lost":
            return Reply(b"{", headers={"Date": date}, missing=100)
        return json_reply(body, Date=date)

    def _shown(self, asked: Asked, came: dt.datetime) -> dict[str, Any]:
        begin, size = int(asked.one("offset")), int(asked.one("limit"))
        end = begin + min(size, self.largest_page)
        if "showprocessedstartdatetime" in asked.query:
            since, until = (
                _wall(asked.one(f"showprocessed{which}datetime")) for which in ("start", "end")
            )
            found = [event for wall, event in self.taken if since <= wall <= until]
            return {"patients": [one.row for one in found[begin:end]], "totalcount": len(found)}
        shown, total = self.unread[begin:end], len(self.unread)
        if _takes(asked):
            self._take(shown, came)
        return {"patients": [one.row for one in shown], "totalcount": total}

    def _take(self, events: list[Event], at: dt.datetime) -> None:
        self.on_taking(events)
        wall = _wall(at.astimezone(EASTERN).strftime(WALL))
        self.taken += [(wall, event) for event in events]
        self.unread = [one for one in self.unread if one not in events]


def _takes(asked: Asked) -> bool:
    return "showprocessedstartdatetime" not in asked.query and (
        asked.one("leaveunprocessed") != "true"
    )


def _wall(text: str) -> dt.datetime:
    return dt.datetime.strptime(text, WALL)  # noqa: DTZ007  the zone is what it does not know
