"""Change times: read strictly from rows, and sent as bounds the API understands.

Belongs here: both directions for one ``Cursor``. Does not belong here: which window to ask for.

Rules. Inside, every time is UTC. A value is read only in the declared format, and a value without
a zone only if the description says which one is meant; in the repeated hour of autumn it is the
earlier instant. A value without a time of day is read only if the precision is a day or more: else
midnight would be a guess. Bounds are widened to the API's tick, never narrowed; rows are filtered
again by their own time.
"""

import datetime as dt
from collections.abc import Callable
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

from migration_assets.legacy.description import Cursor
from migration_assets.legacy.description.change_time import DAY

Reader: TypeAlias = Callable[[Any], dt.datetime | None]

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_NAIVE_EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001  wall times are counted from a wall time
_FIRST, _LAST = dt.datetime.min.replace(tzinfo=dt.UTC), dt.datetime.max.replace(tzinfo=dt.UTC)
_TICK, _DAY = dt.timedelta(microseconds=1), dt.timedelta(days=1)
DAWN = _FIRST + _DAY
"""0001-01-01 stands for «no time» in some systems; no zone's bound can be written so early."""

_MILLISECOND, _SECOND = 1_000, 1_000_000  # microseconds
_DATE_LENGTH = len("2024-01-31")
_SHORTEST_ISO = len("2024-01-31T10:00")


def time_reader(cursor: Cursor) -> Reader:
    """A function from a row's value to its instant in UTC, or None if it cannot be read."""
    if cursor.format == "epoch_s":
        return _epoch_reader(_SECOND)
    if cursor.format == "epoch_ms":
        return _epoch_reader(_MILLISECOND)
    zone = ZoneInfo(cursor.tz) if cursor.tz is not None else None
    if cursor.format == "iso":
        return _iso_reader(zone, dates=cursor.precision_seconds >= DAY)
    return _pattern_reader(cursor.format, zone)


def _epoch_reader(unit: int) -> Reader:
    """Whole numbers are counted exactly; a float only as far as it is precise."""

    def read(value: Any) -> dt.datetime | None:
        if isinstance(value, str) and value.isascii() and value.isdigit():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        try:
            return _EPOCH + dt.timedelta(microseconds=value * unit)
        except (ValueError, OverflowError):
            return None

    return read


def _iso_reader(zone: ZoneInfo | None, *, dates: bool) -> Reader:
    parse, utc = dt.datetime.fromisoformat, dt.UTC
    shortest = _DATE_LENGTH if dates else _SHORTEST_ISO

    def read(value: Any) -> dt.datetime | None:
        # fromisoformat also takes 20240131 and 2024-W05-3; an API that sends those says a pattern.
        if not isinstance(value, str) or len(value) < shortest or value[7] != "-":
            return None
        try:
            moment = parse(value)
            if moment.tzinfo is utc:
                return moment
            return _in_utc(moment, zone)
        except (ValueError, OverflowError):
            return None

    return read


def _pattern_reader(pattern: str, zone: ZoneInfo | None) -> Reader:
    def read(value: Any) -> dt.datetime | None:
        if not isinstance(value, str):
            return None
        try:
            return _in_utc(dt.datetime.strptime(value, pattern), zone)  # noqa: DTZ007  the next call sees to the zone
        except (ValueError, OverflowError):
            return None

    return read


def _in_utc(moment: dt.datetime, zone: ZoneInfo | None) -> dt.datetime | None:
    if moment.tzinfo is None:
        if zone is None:
            return None
        moment = moment.replace(tzinfo=zone)
    return moment.astimezone(dt.UTC)


def lower_bound(cursor: Cursor, since: dt.datetime) -> str:
    """``since`` as the API takes it: floored to its tick, one tick less if it excludes equality."""
    tick = tick_of(cursor)
    since = min(since, _LAST - 2 * _DAY)  # 9999-12-31 stands for «never», and has no day after it
    wall = _floored(_wall(cursor, since), tick)
    if not cursor.inclusive:
        wall, since = wall - tick, since - tick
    # A wall time that happens twice, or never, is sent so that either reading is early enough.
    while (gap := max(_readings(cursor, wall)) - since) > dt.timedelta(0):
        wall = _floored(wall - gap, tick)
    if _send_format(cursor).startswith("epoch"):
        wall = max(wall, _NAIVE_EPOCH)  # Kinto answers 400 to a negative number
    return _rendered(cursor, wall)


def upper_bound(cursor: Cursor, until: dt.datetime) -> str:
    """``until`` as the API takes it: ceiled to its tick."""
    tick = tick_of(cursor)
    until += _repeated_near(cursor, until)
    wall = _ceiled(_wall(cursor, until), tick)
    while (gap := until - min(_readings(cursor, wall))) > dt.timedelta(0):
        wall = _ceiled(wall + gap, tick)
    return _rendered(cursor, wall)


def floor_to_tick(cursor: Cursor, moment: dt.datetime) -> dt.datetime:
    """The latest instant up to ``moment`` that a bound says exactly, in UTC."""
    if moment < DAWN:
        return moment
    moment = min(moment, _LAST - 2 * _DAY)
    return min(_readings(cursor, _floored(_wall(cursor, moment), tick_of(cursor))))


def misread_by(cursor: Cursor, moment: dt.datetime) -> dt.timedelta:
    """How far apart instants near a moment may be read from how the source sorts them.

    Zero except within a day of where clocks are set: a second 01:30 is read as the first, and a
    02:30 that never was as 03:30.
    """
    return abs(_set_back_near(cursor, moment))


def _repeated_near(cursor: Cursor, moment: dt.datetime) -> dt.timedelta:
    """How far clocks go back within a day of a moment, for values that may carry no zone.

    A row of the second 01:30 is read as the first one (there is no telling), so that it belongs
    to the earlier window; the API, which knows better, must not have cut it off there.
    """
    return max(_set_back_near(cursor, moment), dt.timedelta(0))


def _set_back_near(cursor: Cursor, moment: dt.datetime) -> dt.timedelta:
    """Forward is less than zero."""
    if cursor.tz is None:
        return dt.timedelta(0)
    zone, around = ZoneInfo(cursor.tz), 2 * _DAY
    moment = min(max(moment, _FIRST + around), _LAST - around)
    before = (moment - _DAY).astimezone(zone).utcoffset() or dt.timedelta(0)
    after = (moment + _DAY).astimezone(zone).utcoffset() or dt.timedelta(0)
    return before - after


def _floored(wall: dt.datetime, tick: dt.timedelta) -> dt.datetime:
    return wall - (wall - _NAIVE_EPOCH) % tick


def _ceiled(wall: dt.datetime, tick: dt.timedelta) -> dt.datetime:
    return wall + -(wall - _NAIVE_EPOCH) % tick


def _send_format(cursor: Cursor) -> str:
    return cursor.send_format or cursor.format


def tick_of(cursor: Cursor) -> dt.timedelta:
    """The API's tick, or the smallest step the format sent can write if that is coarser."""
    declared = dt.timedelta(seconds=cursor.precision_seconds)
    return max(declared, _smallest_step(_send_format(cursor)))


def _smallest_step(form: str) -> dt.timedelta:
    if form == "epoch_ms":
        return dt.timedelta(milliseconds=1)
    if form == "iso" or "%f" in form:
        return _TICK
    if form == "epoch_s" or any(part in form for part in ("%S", "%T", "%X", "%c")):
        return dt.timedelta(seconds=1)
    if "%M" in form:
        return dt.timedelta(minutes=1)
    return dt.timedelta(hours=1) if "%H" in form or "%I" in form else dt.timedelta(days=1)


def _zoneless(cursor: Cursor) -> bool:
    """True if what is sent says no zone, so that the API reads it in its own."""
    form = _send_format(cursor)
    if form == "iso":
        return cursor.precision_seconds >= DAY
    return not form.startswith("epoch") and "%z" not in form


def _zone(cursor: Cursor) -> dt.tzinfo:
    """The zone wall times are counted in: the API's if it reads our bound in it, else UTC."""
    return ZoneInfo(cursor.tz) if cursor.tz is not None and _zoneless(cursor) else dt.UTC


def _wall(cursor: Cursor, moment: dt.datetime) -> dt.datetime:
    return moment.astimezone(_zone(cursor)).replace(tzinfo=None)


def _readings(cursor: Cursor, wall: dt.datetime) -> tuple[dt.datetime, dt.datetime]:
    """Both instants a wall time may stand for; they differ where clocks are set."""
    local = wall.replace(tzinfo=_zone(cursor), fold=0)
    return local.astimezone(dt.UTC), local.replace(fold=1).astimezone(dt.UTC)


def _rendered(cursor: Cursor, wall: dt.datetime) -> str:
    form = _send_format(cursor)
    if form in ("epoch_s", "epoch_ms"):
        unit = _SECOND if form == "epoch_s" else _MILLISECOND
        return str((wall - _NAIVE_EPOCH) // _TICK // unit)
    if form == "iso" and _zoneless(cursor):
        return wall.date().isoformat()
    if form == "iso":
        microseconds = round(cursor.precision_seconds * _SECOND)
        spec = "seconds"
        if microseconds % _SECOND:
            spec = "microseconds" if microseconds % _MILLISECOND else "milliseconds"
        return wall.isoformat(timespec=spec) + "Z"
    return wall.replace(tzinfo=_zone(cursor)).strftime(form)
