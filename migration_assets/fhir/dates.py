"""Dates and times: what the source wrote, as FHIR, no more and no less precise.

Belongs here: ISO 8601 text to FHIR date, dateTime and instant. Does not belong here: any other
form; ``03/04/2020`` is two days, so it is quarantined, as is a time that could be two instants.
Absent in, absent out: None and '' are None.
"""

import re
from datetime import datetime, timedelta
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo

from migration_assets.errors import Permanent
from migration_assets.fhir.primitives import full_date
from migration_assets.mapping import SOURCE_ZONE, Quarantined

_MOMENT: Final = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)[T ](?P<hour>\d\d):(?P<minute>\d\d)"
    r"(?::(?P<second>\d\d)(?P<fraction>\.\d{1,9})?)?"
    r"(?P<zone>Z|[+-]\d\d(?::?\d\d)?)?",
    re.ASCII,
)
_WIDEST_OFFSET: Final = 14 * 60


def date(text: str | None, field: str) -> str | None:
    """A FHIR date of the precision given: YYYY, YYYY-MM or YYYY-MM-DD.

    Raises:
        Quarantined: ``impossible-date`` (1980-02-30, 0000-00-00), ``unreadable-date``.
    """
    if not text:
        return None
    reason = full_date(text)
    if reason is not None:
        raise Quarantined(
            "impossible-date" if reason == "impossible-date" else "unreadable-date", field
        )
    return text


def date_time(text: str | None, field: str, zone: str | None = SOURCE_ZONE) -> str | None:
    """A FHIR dateTime: a date stays a date; a time without a zone is one in ``zone``.

    Seconds that the source leaves out are zero-filled, which FHIR asks for.

    Raises:
        Quarantined: as ``date``; ``impossible-time``; ``zone-less-time`` when ``zone`` is None;
            ``ambiguous-time`` and ``nonexistent-time`` where the zone's clock changes;
            ``unreadable-time``.
        Permanent: there is no such zone.
    """
    if not text:
        return None
    if len(text) <= len("YYYY-MM-DD"):
        return date(text, field)
    form = _MOMENT.fullmatch(text)
    if form is None:
        raise Quarantined("unreadable-time", field)
    day = date(form["day"], field)
    hour, minute, second = int(form["hour"]), int(form["minute"]), int(form["second"] or 0)
    if hour > 23 or minute > 59 or second > 59:  # noqa: PLR2004 - the clock's own numbers
        raise Quarantined("impossible-time", field)
    clock = f"{hour:02}:{minute:02}:{second:02}{form['fraction'] or ''}"
    if form["zone"] is None:
        return (
            f"{day}T{clock}{_local_offset(f'{day}T{hour:02}:{minute:02}:{second:02}', field, zone)}"
        )
    return f"{day}T{clock}{_offset(form['zone'], field)}"


def instant(text: str | None, field: str, zone: str | None = SOURCE_ZONE) -> str | None:
    """A FHIR instant: as ``date_time``, but a date alone will not do.

    Raises:
        Quarantined: as ``date_time``; ``time-missing`` for a date without a time.
        Permanent: there is no such zone.
    """
    made = date_time(text, field, zone)
    if made is not None and "T" not in made:
        raise Quarantined("time-missing", field)
    return made


def _offset(text: str, field: str) -> str:
    if text == "Z":
        return text
    hours, minutes = int(text[1:3]), int(text[3:].lstrip(":") or 0)
    if minutes > 59 or 60 * hours + minutes > _WIDEST_OFFSET:  # noqa: PLR2004 - minutes of an hour
        raise Quarantined("impossible-time", field)
    return f"{text[0]}{hours:02}:{minutes:02}"


def _local_offset(wall: str, field: str, zone: str | None) -> str:
    """The offset from UTC of a wall-clock time in ``zone``, if it has exactly one."""
    if zone is None:
        raise Quarantined("zone-less-time", field)
    first = datetime.fromisoformat(wall).replace(tzinfo=_zone(zone))
    offset, later = first.utcoffset(), first.replace(fold=1).utcoffset()
    if offset is None or later is None or offset < later:  # spring: the clock skips this time
        raise Quarantined("nonexistent-time", field)
    if offset > later:
        raise Quarantined("ambiguous-time", field)
    minutes, rest = divmod(offset, timedelta(minutes=1))
    if rest:  # a city's own solar time, before zones; FHIR offsets have no seconds
        raise Quarantined("unreadable-time", field)
    if minutes == 0:
        return "Z"
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"


@cache
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise Permanent(
            f"Reading the source's times: there is no time zone {name!r}. "
            "Set SOURCE_ZONE in mapping.py to an IANA name such as Europe/Berlin."
        ) from None
