"""Dates and times as sources write them: recognised, dated where that is possible, judged.

Belongs here: reading one value. Does not belong here: counting (``moments``), or what FHIR takes
(``fhir.dates``, which takes far less). A form is named by what a person would write for it.
"""

import datetime as dt
import re
from dataclasses import dataclass
from typing import Any, Final

_EPOCH: Final = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - wall times are compared with wall times
_CLOCK: Final = (
    r"(?:[T ]+(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?P<fraction>[.,]\d{1,9})?)?"
    r"(?: ?(?P<half>[AaPp]\.?[Mm]\.?))?(?: ?(?P<zone>[Zz]|UTC|GMT|[+-]\d\d(?::?\d\d)?))?)?"
)
_ISO: Final = re.compile(r"(?P<y>\d{4})-(?P<m>\d\d)-(?P<d>\d\d)" + _CLOCK, re.ASCII)
_YEAR_FIRST: Final = re.compile(
    r"(?P<y>\d{4})(?P<by>[/.])(?P<m>\d\d?)(?P=by)(?P<d>\d\d?)" + _CLOCK, re.ASCII
)
_YEAR_LAST: Final = re.compile(
    r"(?P<a>\d\d?)(?P<by>[/.\-])(?P<b>\d\d?)(?P=by)(?P<y>\d{4}|\d\d)" + _CLOCK, re.ASCII
)
_NAMED: Final = re.compile(
    r"(?P<d>\d\d?)[ \-](?P<mon>[A-Za-z]{3,9})\.?[ \-,]+(?P<y>\d{4})" + _CLOCK, re.ASCII
)
_MONTH: Final = re.compile(r"(?P<y>\d{4})-(?P<m>\d\d)", re.ASCII)
_YEAR: Final = re.compile(r"\d{4}", re.ASCII)
_COMPACT: Final = re.compile(r"(?P<y>\d{4})(?P<m>\d\d)(?P<d>\d\d)(?P<clock>\d{4}|\d{6})?", re.ASCII)
_DOT_NET: Final = re.compile(r"/Date\((-?\d{1,15})(?P<zone>[+-]\d{4})?\)/", re.ASCII)
_DIGITS: Final = re.compile(r"\d{10}|\d{13}", re.ASCII)
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct",
                  "nov", "dec")  # fmt: skip
_LONGEST: Final = 48
_TWO_DIGITS: Final = 2
_MONTHS_IN_A_YEAR: Final = 12
_NOON: Final = 12
_EPOCHS: Final = {"epoch seconds": (315_532_800, 4_102_444_800, 1)} | {
    "epoch milliseconds": (315_532_800_000, 4_102_444_800_000, 1000)
}
"""From 1980 to 2100, so that an amount or a key is not taken for a moment."""

_SPEAKS_OF_TIME: Final = re.compile(
    r"(^|_)(date|datetime|time|timestamp|day|dob|born|birth|birthday|dod|when|since|until|"
    r"start|end|from|expiry|expires|onset|at|on|ts)(_|$)"
)
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@dataclass(frozen=True)
class Moment:
    """A value read as a date or time.

    ``wall`` is what it says without its zone; None if no calendar has it. ``zone`` is ``Z``, an
    offset, ``none`` for a time that has no zone, or None for a date. ``order`` says of a date like
    03/04/2020 which reading is possible: ``month first``, ``day first``, ``either``. ``weak`` forms
    may be numbers: they are dates only if their field says so. ``undated``: nothing says of which
    century it is.
    """

    form: str
    wall: dt.datetime | None
    zone: str | None = None
    order: str | None = None
    weak: bool = False
    undated: bool = False


def speaks_of_time(name: str) -> bool:
    """Whether the name of a field says that a date or time is in it."""
    return bool(_SPEAKS_OF_TIME.search(_CAMEL.sub("_", name).lower().replace("-", "_")))


def moment_of(value: Any) -> Moment | None:
    """The date or time a value is, or None."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _epoch(value, "")
    short = isinstance(value, str) and len(value) <= _LONGEST
    return _written(value.strip()) if short else None


def _written(text: str) -> Moment | None:
    if found := _ISO.fullmatch(text):
        return _dated("YYYY-MM-DD", found, found["m"], found["d"])
    if found := _YEAR_FIRST.fullmatch(text):
        return _dated(found["by"].join(("YYYY", "MM", "DD")), found, found["m"], found["d"])
    if found := _YEAR_LAST.fullmatch(text):
        return _year_last(found)
    if found := _NAMED.fullmatch(text):
        return _dated("DD Mon YYYY", found, _number_of(found["mon"]), found["d"])
    return _short(text)


def _number_of(month: str) -> str:
    short = month[:3].lower()
    return str(_MONTHS.index(short) + 1) if short in _MONTHS else "0"


def _short(text: str) -> Moment | None:
    """Forms that say less than a day, or that may be numbers."""
    if found := _MONTH.fullmatch(text):
        return Moment("YYYY-MM", _wall(found["y"], found["m"], "1"))
    if found := _DOT_NET.fullmatch(text):
        wall = _since_epoch(int(found[1]) / 1000)
        return Moment("/Date(ms)/", wall, _zone(found["zone"] or "Z"))
    if _YEAR.fullmatch(text):
        return Moment("YYYY", _wall(text, "1", "1"), weak=True)
    if found := _COMPACT.fullmatch(text):
        clock = found["clock"] or ""
        form = "YYYYMMDD" + "hhmmss"[: len(clock)]
        wall = _wall(found["y"], found["m"], found["d"])
        if wall is not None:
            return Moment(form, wall, "none" if clock else None, weak=True)
    return _epoch(int(text), " as text") if _DIGITS.fullmatch(text) else None


def _epoch(value: float, how: str) -> Moment | None:
    for name, (least, greatest, unit) in _EPOCHS.items():
        if least <= value < greatest:
            return Moment(name + how, _since_epoch(value / unit), "Z", weak=True)
    return None


def _since_epoch(seconds: float) -> dt.datetime | None:
    try:
        return _EPOCH + dt.timedelta(seconds=seconds)
    except OverflowError:
        return None


def _year_last(found: re.Match[str]) -> Moment:
    first, second, by = int(found["a"]), int(found["b"]), found["by"]
    year = "YYYY" if len(found["y"]) > _TWO_DIGITS else "YY"
    month_first, day_first = first <= _MONTHS_IN_A_YEAR, second <= _MONTHS_IN_A_YEAR
    if month_first and day_first and first != second:
        order = "either"
    else:
        order = "month first" if month_first else "day first"
    form = by.join(("NN", "NN", year))
    if year == "YY" and (month_first or day_first):
        return Moment(form, None, order=order, weak=True, undated=True)
    month, day = (found["a"], found["b"]) if month_first else (found["b"], found["a"])
    made = _dated(form, found, month, day)
    return Moment(made.form, made.wall, made.zone, order if made.wall else None)


def _dated(form: str, found: re.Match[str], month: str, day: str) -> Moment:
    wall = _wall(found["y"], month, day)
    if found["hour"] is None:
        return Moment(form, wall)
    hour, minute, second = int(found["hour"]), int(found["minute"]), int(found["second"] or 0)
    form += " hh:mm" + (":ss" if found["second"] else "") + (".fff" if found["fraction"] else "")
    if found["half"]:
        form += " AM/PM"
        if not 1 <= hour <= _NOON:
            wall = None
        hour = hour % _NOON + (_NOON if found["half"].lower().startswith("p") else 0)
    try:
        wall = wall and wall.replace(hour=hour, minute=minute, second=second)
    except ValueError:
        wall = None
    return Moment(form, wall, _zone(found["zone"]))


def _zone(text: str | None) -> str:
    if text is None:
        return "none"
    if text.upper() in ("Z", "UTC", "GMT"):
        return "Z"
    digits = text[1:].replace(":", "").ljust(4, "0")
    return f"{text[0]}{digits[:2]}:{digits[2:]}"


def _wall(year: str, month: str, day: str) -> dt.datetime | None:
    try:
        return dt.datetime(int(year), int(month), int(day))  # noqa: DTZ001 - as in _EPOCH
    except ValueError:
        return None
