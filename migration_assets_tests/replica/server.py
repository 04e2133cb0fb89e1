"""The API of a legacy clinic behind the transport's seam: filters, orders, pages, failures.

Belongs here: what an honest server of a shape answers, and what happens between two requests: time
passes, people work, it fails. Does not belong here: what must hold (the tests say it).
"""

import datetime as dt
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode

from migration_assets.errors import Permanent, Transient
from migration_assets.legacy.failures import TooMuchForGood, TooMuchForNow
from migration_assets.legacy.placement import Parameters
from migration_assets.legacy.transport import Answer, Belief
from migration_assets_tests.legacy.imagined_source import BASE
from migration_assets_tests.replica.clinic import Change, Clinic, Deletion, Record
from migration_assets_tests.replica.shapes import CAP, MAX_WINDOW_SECONDS, Shape

_NOT_FOUND = 404
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)


class Cut(BaseException):
    """Our process ends here: nothing that catches an Exception survives it."""


@dataclass(frozen=True)
class Moment:
    """What happens before one request, and how the request fares.

    ``fault`` is ``down`` (the transport gave up) or ``cut`` (our process dies waiting).
    """

    wait: dt.timedelta = dt.timedelta(0)
    changes: tuple[Change, ...] = ()
    fault: str | None = None
    slow: dt.timedelta = dt.timedelta(0)


def _believed(_body: Any) -> None:
    """Doubt nothing."""


@dataclass
class LegacyServer:
    """Implements ``Fetcher`` over a clinic; ``moments`` are used up request by request."""

    clinic: Clinic
    shape: Shape
    moments: Iterator[Moment] = field(default_factory=lambda: iter(()))
    base_url: str = BASE
    requests_made: int = 0

    def fetch(
        self,
        url: str,
        params: Parameters,
        *,
        where: str,
        believe: Belief = _believed,
        body: Any = None,
        gone: frozenset[int] = frozenset(),
    ) -> Answer:
        """Answer one request from what is committed now."""
        self.requests_made += 1
        moment = next(self.moments, Moment())
        self.clinic.advance(moment.wait)
        self.clinic.work(moment.changes)
        if moment.fault == "cut":
            raise Cut
        if moment.fault == "down":
            raise Transient("the source went down")
        address, _, in_url = url.partition("?")
        query = {**dict(params), **dict(parse_qsl(in_url))}
        path = address.removeprefix(BASE).strip("/")
        key = path.partition("/")[2]
        answered, headers = ({}, {}) if key else self._page(query, path)
        shown = [self._shown(row) for row in self._listed({}, feed=False) if str(row.key) == key]
        self.clinic.advance(moment.slow)
        headers["Date"] = format_datetime(self.clinic.now, usegmt=True)
        if key and not shown:
            if _NOT_FOUND in gone:
                return Answer(None, headers, skipped=True)
            raise Permanent("it answered 404")
        if key:
            answered = shown[0]
        assert believe(answered) is None
        return Answer(answered, headers)

    def close(self) -> None:
        """Nothing is open."""

    # -- one page -----------------------------------------------------------------------------

    def _page(self, query: Mapping[str, str], path: str) -> tuple[dict[str, Any], dict[str, str]]:
        rows = sorted(self._listed(query, feed=path == "deleted"), key=self._order)
        self._refuse_too_much(query, len(rows))
        if self.shape.limit == "cap":
            rows = rows[:CAP]
        everything = len(rows)
        size = min(int(query.get("limit", self.shape.size)), self.shape.largest)
        if self.shape.pager == "none":
            size = everything
        begin = int(query.get("offset", (int(query.get("page", 1)) - 1) * size))
        if "after" in query:
            rows = [row for row in rows if row.key > int(query["after"])]
        if "at" in query:
            rows, begin = self._continued(rows, query["at"])
        shown = rows[begin : begin + size]
        more = begin + size < len(rows)
        token = self._token(shown, begin + size) if shown else None
        answered: dict[str, Any] = {
            "data": [self._shown(row) for row in shown],
            "token": token if more else None,
            "last": token,
            "more": more,
            "next": None,
            "total": everything,
        }
        headers: dict[str, str] = {}
        if more and token is not None:
            following = f"{BASE}/{path}?{urlencode({**query, 'at': token})}"
            answered["next"] = following
            headers = {"Link": f'<{following}>; rel="next"', "Next-Page": following}
            headers["Next-Token"] = token
        return answered, headers

    def _listed(self, query: Mapping[str, str], *, feed: bool) -> Iterable[Record]:
        flagged = self.shape.deletion is Deletion.FLAG
        for row in self.clinic.rows.values():
            if (row.deleted is feed or (flagged and not feed)) and self._asked_for(row, query):
                yield row

    def _asked_for(self, row: Record, query: Mapping[str, str]) -> bool:
        at = self._column(row.stamp)
        if "from" in query:
            begin = self._bound(query["from"])
            if not (at >= begin if self.shape.inclusive else at > begin):
                return False
        if "to" in query:
            end = self._bound(query["to"])
            return at <= end if self.shape.until_inclusive else at < end
        return True

    def _column(self, moment: dt.datetime) -> int:
        """What the filter and the order look at, as microseconds."""
        times = self.shape.times
        if self.shape.compares == "instants":
            return (moment - _EPOCH) // _MICROSECOND
        truncated = times.truncated(moment)
        if self.shape.compares == "wall":
            return _wall(truncated.astimezone(times.zone))
        return (truncated - _EPOCH) // _MICROSECOND

    def _bound(self, text: str) -> int:
        moment = self.shape.times.read(text, self.shape.fold)
        if self.shape.compares == "wall":
            return _wall(moment.astimezone(self.shape.times.zone))
        return (moment - _EPOCH) // _MICROSECOND

    def _order(self, row: Record) -> tuple[int, ...]:
        match self.shape.order:
            case "change_time":
                return self._sorted_by(row.stamp), row.key
            case "change_time_descending":
                return -self._sorted_by(row.stamp), row.key
            case "unknown":
                return (row.place,)
        return (row.key,)

    def _sorted_by(self, moment: dt.datetime) -> int:
        """The column of the time it shows, which may be finer than its filter."""
        times = self.shape.times
        finer = times.shown(moment) != times.shown(times.truncated(moment))
        if not finer:
            return self._column(moment)
        if self.shape.compares == "wall":
            return _wall(moment.astimezone(times.zone))
        return (moment - _EPOCH) // _MICROSECOND

    def _token(self, shown: list[Record], position: int) -> str:
        return json.dumps(self._order(shown[-1])) if self.shape.remembers else str(position)

    def _continued(self, rows: list[Record], at: str) -> tuple[list[Record], int]:
        if not self.shape.remembers:
            return rows, int(at)
        last = tuple(json.loads(at))
        return [row for row in rows if self._order(row) > last], 0

    def _shown(self, row: Record) -> dict[str, Any]:
        return {
            "id": row.key,
            "content": row.content,
            "changed": self.shape.times.shown(row.stamp),
            "deleted": row.deleted,
            "archived": row.archived,
            "merged_into": row.merged_into,
        }

    def _refuse_too_much(self, query: Mapping[str, str], rows: int) -> None:
        if self.shape.limit == "window":
            if "from" not in query or "to" not in query:
                raise Permanent("it answered 400: a window has two ends")
            length = self._bound(query["to"]) - self._bound(query["from"])
            longest = dt.timedelta(seconds=MAX_WINDOW_SECONDS) + 2 * self.shape.times.tick
            if length * _MICROSECOND > longest + dt.timedelta(hours=2):
                raise Permanent("it answered 400: the window is too long")
        if rows > CAP and self.shape.limit == "413":
            raise TooMuchForGood("it answered 413")
        if rows > CAP and self.shape.limit == "504":
            raise TooMuchForNow("it answered 504")


def _wall(moment: dt.datetime) -> int:
    return (moment.replace(tzinfo=dt.UTC) - _EPOCH) // _MICROSECOND
