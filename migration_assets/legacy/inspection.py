"""What one page of a stream shows of it: order, ties, zone, precision, page size, total, clocks.

Belongs here: seeing, from rows that were pulled, and comparing with what the description says. Does
not belong here: pulling, or how it is told (``cli.check_streams``). Nothing of a row leaves this
module but counts, offsets and the names of fields.

A page proves little: what it shows may be chance, and every warning says what it would mean. Page
drift and ties: legacy-APIs study; a total that counts the page: ModMed.
"""

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from migration_assets.legacy.description import Cursor, Stream
from migration_assets.legacy.description.paging import (
    KeysetPages,
    NumberedPages,
    OffsetPages,
    Walk,
)
from migration_assets.legacy.pull import PulledPage
from migration_assets.legacy.rows import ABSENT, PulledRow, value_at
from migration_assets.legacy.suspicions import Seen, Zone, warnings_of

_SIZE_NAMES = frozenset({"limit", "per_page", "page_size", "pagesize", "perpage", "_count", "size"})
_WORTH_A_VERDICT = 5  # different times in a row are not in order by chance (1 in 60)
_TOLERANCE = dt.timedelta(minutes=5)  # between the clock of its database and of its web server
_FIRST_OFFSET, _LAST_OFFSET = -12 * 60, 14 * 60  # minutes; the offsets in use anywhere
_HALF_AN_HOUR = 30
_STALE = 2  # seconds: a date has no fraction, and some servers render it once a second


def inspect(
    stream: Stream,
    page: PulledPage,
    *,
    asked_at: float,
    answered_at: float,
    following: int | None = None,
    recent: Sequence[PulledRow] = (),
) -> Seen:
    """What a first page shows.

    ``asked_at`` and ``answered_at`` are readings of our clock (epoch seconds), ``following`` is how
    many rows the second page had if it was asked for, ``recent`` are rows that changed lately.
    """
    cursor, rows = stream.cursor, page.rows
    moments = [row.changed_at for row in rows if row.changed_at is not None]
    counted = Counter(moments)
    keys = Counter(row.key for row in rows if row.key is not None)
    walls = _walls(cursor, rows) if cursor is not None else []
    seen = Seen(
        asked=_asked(stream),
        served=len(rows),
        more=_more(page, following),
        total=page.total,
        field=cursor.field if cursor is not None else None,
        order=_order(moments),
        by_id=_order_of_keys(rows),
        tied=sum(count for count in counted.values() if count > 1),
        largest_tie=max((count for count in counted.values() if count > 1), default=0),
        without_id=sum(row.key is None for row in rows),
        repeated_ids=sum(count - 1 for count in keys.values()),
        unreadable_times=sum(row.changed_at is None for row in rows) if cursor is not None else 0,
        in_the_future=sum(moment > page.server_time + _TOLERANCE for moment in moments),
        precision=_precision([wall for wall, _ in walls]),
        zone=_zone(cursor, walls, recent, page.server_time) if cursor is not None else None,
        skew=_skew(page.server_time, asked_at, answered_at),
        warnings=(),
    )
    return replace(seen, warnings=tuple(warnings_of(stream, seen, different=len(counted))))


def carries_zoneless_times(stream: Stream, page: PulledPage) -> bool:
    """True if recent rows would tell more of the zone than this page."""
    cursor = stream.cursor
    return cursor is not None and any(not zoned for _, zoned in _walls(cursor, page.rows))


def _asked(stream: Stream) -> int | None:
    pager = stream.pager.within_tie if isinstance(stream.pager, Walk) else stream.pager
    if isinstance(pager, OffsetPages):
        return pager.size
    if isinstance(pager, NumberedPages | KeysetPages) and pager.size_param is not None:
        return pager.size
    for name, values in stream.params.items():
        if name.lower() in _SIZE_NAMES and values[-1].isascii() and values[-1].isdecimal():
            return int(values[-1])
    return None


def _more(page: PulledPage, following: int | None) -> bool | None:
    if following is not None:
        return following > 0
    return page.total > len(page.rows) if page.total is not None else None


def _order(moments: Sequence[Any]) -> str | None:
    if len(set(moments)) < 2:  # noqa: PLR2004  two make an order
        return None
    if all(one <= other for one, other in pairwise(moments)):
        return "ascending"
    return "descending" if all(one >= other for one, other in pairwise(moments)) else "none"


def _order_of_keys(rows: Sequence[PulledRow]) -> str | None:
    keys = [row.key for row in rows if row.key is not None]
    if all(key.isascii() and key.isdecimal() for key in keys):
        return _order([(len(key.lstrip("0")), key.lstrip("0")) for key in keys])
    return _order(keys)


def _walls(cursor: Cursor, rows: Sequence[PulledRow]) -> list[tuple[dt.datetime, bool]]:
    """The times as rows write them, and whether they carry a zone."""
    found = (_wall(cursor, value_at(row.row, cursor.field)) for row in rows)
    return [one for one in found if one is not None]


def _wall(cursor: Cursor, value: Any) -> tuple[dt.datetime, bool] | None:
    if value is ABSENT or not isinstance(value, str) or cursor.format.startswith("epoch"):
        return None
    try:
        if cursor.format == "iso":
            moment = dt.datetime.fromisoformat(value)
        else:
            moment = dt.datetime.strptime(value, cursor.format)  # noqa: DTZ007  that is the question
    except ValueError:
        return None
    return moment.replace(tzinfo=None), moment.tzinfo is not None


def _precision(walls: Sequence[dt.datetime]) -> str | None:
    if len(set(walls)) < _WORTH_A_VERDICT:
        return None
    for name, whole in (
        ("days", all(wall.time() == dt.time() for wall in walls)),
        ("hours", all(not (wall.minute or wall.second or wall.microsecond) for wall in walls)),
        ("minutes", all(not (wall.second or wall.microsecond) for wall in walls)),
        ("seconds", all(not wall.microsecond for wall in walls)),
        ("milliseconds", all(not wall.microsecond % 1_000 for wall in walls)),
    ):
        if whole:
            return name
    return "microseconds"


def _zone(
    cursor: Cursor,
    walls: Sequence[tuple[dt.datetime, bool]],
    recent: Sequence[PulledRow],
    server_time: dt.datetime,
) -> Zone | None:
    zoneless = [wall for wall, zoned in walls if not zoned]
    if not zoneless:
        return None
    newest = max([*zoneless, *(wall for wall, zoned in _walls(cursor, recent) if not zoned)])
    latest = server_time.astimezone(dt.UTC).replace(tzinfo=None) + _TOLERANCE
    minutes = range(_FIRST_OFFSET, _LAST_OFFSET + 1, _HALF_AN_HOUR)
    possible = [one for one in minutes if newest - latest <= dt.timedelta(minutes=one)]
    contradicts = False
    if cursor.tz is not None:
        there = (server_time + _TOLERANCE).astimezone(ZoneInfo(cursor.tz))
        contradicts = newest > there.replace(tzinfo=None)  # compared so, year 9999 is no overflow
    return Zone(
        rows=len(zoneless),
        declared=cursor.tz,
        possible=tuple(_offset(one) for one in possible),
        at_least=_offset(possible[0]) if 0 < len(possible) < len(minutes) else None,
        contradicts=contradicts,
    )


def _offset(minutes: int) -> str:
    sign, minutes = "-" if minutes < 0 else "+", abs(minutes)
    return f"{sign}{minutes // 60:02d}:{minutes % 60:02d}"


def _skew(server_time: dt.datetime, asked_at: float, answered_at: float) -> float | None:
    """0 while the date the source sends can lie between question and answer."""
    if server_time.microsecond:  # an HTTP date has whole seconds: this is our own clock
        return None
    told = server_time.timestamp()
    if told + _STALE < asked_at:
        return round(told + _STALE - asked_at, 1)
    return round(max(0.0, told - answered_at), 1)
