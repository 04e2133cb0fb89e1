"""An imagined legacy API behind the transport's seam: filters and pages without a socket.

Belongs here: what an honest server does with a filter and a page parameter, in every dialect the
properties are tried with. Does not belong here: what must hold (the tests say it).
"""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode
from zoneinfo import ZoneInfo

from migration_assets.legacy.description import Source
from migration_assets.legacy.placement import Parameters
from migration_assets.legacy.pull import Puller
from migration_assets.legacy.transport import Answer, Belief

BASE = "https://imagined.test/api"
SERVED = "Tue, 14 Nov 2023 22:13:20 GMT"

Rows = list[dict[str, Any]]


def _believed(_body: Any) -> None:
    """Doubt nothing."""


@dataclass
class ImaginedSource:
    """Implements ``Fetcher``: ``keeps`` filters, ``cap`` is the largest page, ``lies`` spoil it.

    ``served`` is its clock.
    """

    rows: Callable[[], Rows]
    keeps: Callable[[dict[str, Any], dict[str, str]], bool] = lambda _row, _query: True
    cap: int = 1_000_000
    with_total: bool = False
    lies: Callable[[dict[str, Any]], None] = lambda _body: None
    served: Callable[[], str] = lambda: SERVED
    base_url: str = BASE
    requests_made: int = 0
    queries: list[dict[str, str]] = field(default_factory=list)

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
        """Answer as page, offset, token and link APIs do, by the parameters they know."""
        query = {**dict(params), **(body or {})}
        query.update(parse_qsl(url.partition("?")[2]))
        self.requests_made += 1
        self.queries.append(query)
        rows = [row for row in self.rows() if self.keeps(row, query)]
        size = min(int(query.get("limit", self.cap)), self.cap)
        if "after" in query:
            rows = [row for row in rows if row["shown"]["id"] > int(query["after"])]
        begin = int(query.get("offset", query.get("at", (int(query.get("page", 1)) - 1) * size)))
        end = begin + size
        answered: dict[str, Any] = {
            "data": [row["shown"] for row in rows[begin:end]],
            "token": end if end < len(rows) else None,
            "last": end,
            "more": end < len(rows),
            "next": f"?at={end}" if end < len(rows) else "",
        }
        if self.with_total:
            answered["total"] = len(rows)
        self.lies(answered)
        headers = {"Date": self.served()}
        if end < len(rows):
            kept = urlencode({name: query[name] for name in ("since", "before") if name in query})
            headers["Link"] = f'<{BASE}/rows?at={end}&{kept}>; rel="next"'
            headers["Next-Token"] = str(end)
            headers["Next-Page"] = f"{BASE}/rows?at={end}"
        assert believe(answered) is None
        return Answer(answered, headers)

    def close(self) -> None:
        """Nothing is open."""


def pulls(source: ImaginedSource, **stream: Any) -> Puller:
    """A puller whose transport is the imagined source."""
    described = {"name": "p", "path": "rows", "select": "data", "id": "id", **stream}
    one = Puller(
        Source.model_validate({"name": "imagined", "base_url": BASE, "streams": [described]}),
        environ={},
    )
    one._transport = source
    return one


@dataclass(frozen=True)
class Dialect:
    """How an API writes the times of its rows, and how it reads the bounds it is sent."""

    cursor: dict[str, Any]
    shown: Callable[[dt.datetime], Any]
    read: Callable[[str, int], dt.datetime]
    tick: dt.timedelta
    zone: dt.tzinfo = dt.UTC

    def truncated(self, moment: dt.datetime) -> dt.datetime:
        """The moment at the API's tick, in its zone: what some filters compare."""
        local = moment.astimezone(self.zone)
        if self.tick >= dt.timedelta(days=1):
            return local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
        return moment - (moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) % self.tick


def _zoned(pattern: str, zone: ZoneInfo) -> Callable[[str, int], dt.datetime]:
    """Reads a bound in the API's zone; ``fold`` is its choice where clocks go back."""

    def read(text: str, fold: int) -> dt.datetime:
        return dt.datetime.strptime(text, pattern).replace(tzinfo=zone, fold=fold)

    return read


def _iso(spec: str, zone: dt.tzinfo = dt.UTC) -> Callable[[dt.datetime], str]:
    return lambda moment: moment.astimezone(zone).isoformat(timespec=spec).replace("+00:00", "Z")


NEW_YORK, KOLKATA = ZoneInfo("America/New_York"), ZoneInfo("Asia/Kolkata")
_US, _DAY = "%m/%d/%Y %H:%M:%S", "%Y-%m-%d"
_SECOND, _MILLI = dt.timedelta(seconds=1), dt.timedelta(milliseconds=1)


def _from_iso(text: str, _fold: int) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def _from_epoch(unit: float) -> Callable[[str, int], dt.datetime]:
    return lambda text, _fold: dt.datetime.fromtimestamp(int(text) / unit, dt.UTC)


DIALECTS = {
    "iso milliseconds": Dialect(
        {"precision_seconds": 0.001}, _iso("milliseconds"), _from_iso, _MILLI
    ),
    "iso seconds": Dialect({}, _iso("seconds"), _from_iso, _SECOND),
    "iso with offsets": Dialect({}, _iso("seconds", KOLKATA), _from_iso, _SECOND),
    "epoch seconds": Dialect(
        {"format": "epoch_s"}, lambda at: int(at.timestamp()), _from_epoch(1), _SECOND
    ),
    "epoch milliseconds": Dialect(
        {"format": "epoch_ms", "precision_seconds": 0.001},
        lambda at: (at - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // _MILLI,
        _from_epoch(1000),
        _MILLI,
    ),
    "zone-less New York": Dialect(
        {"format": _US, "tz": "America/New_York", "lookback_seconds": 3600},
        lambda at: at.astimezone(NEW_YORK).strftime(_US),
        _zoned(_US, NEW_YORK),
        _SECOND,
        NEW_YORK,
    ),
    "days of Kolkata, rows to the microsecond": Dialect(
        {
            "tz": "Asia/Kolkata",
            "send_format": _DAY,
            "precision_seconds": 86400,
            "lookback_seconds": 86400,
        },
        _iso("microseconds"),
        _zoned(_DAY, KOLKATA),
        dt.timedelta(days=1),
        KOLKATA,
    ),
    "days of New York": Dialect(
        {
            "format": _DAY,
            "tz": "America/New_York",
            "precision_seconds": 86400,
            "lookback_seconds": 86400,
        },
        lambda at: at.astimezone(NEW_YORK).strftime(_DAY),
        _zoned(_DAY, NEW_YORK),
        dt.timedelta(days=1),
        NEW_YORK,
    ),
}
