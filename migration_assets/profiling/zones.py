"""Which zone a field's times are probably written in, from offsets and from the hours of the day.

Belongs here: the two inferences, as sentences a person can weigh. Does not belong here: applying
one; a zone-less time stays in quarantine until somebody declares the source's zone.
"""

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Final
from zoneinfo import ZoneInfo

_COMMON: Final = (
    "America/New_York", "America/Chicago", "America/Denver", "America/Phoenix",
    "America/Los_Angeles", "America/Anchorage", "Pacific/Honolulu", "America/Halifax",
    "America/St_Johns", "America/Sao_Paulo", "America/Bogota", "America/Mexico_City",
    "America/Argentina/Buenos_Aires", "America/Santiago", "UTC", "Europe/London", "Europe/Berlin",
    "Europe/Athens", "Europe/Istanbul", "Africa/Lagos", "Africa/Johannesburg", "Africa/Nairobi",
    "Africa/Cairo", "Asia/Dubai", "Asia/Karachi", "Asia/Kolkata", "Asia/Kathmandu", "Asia/Dhaka",
    "Asia/Bangkok", "Asia/Shanghai", "Asia/Tokyo", "Australia/Perth", "Australia/Brisbane",
    "Australia/Adelaide", "Australia/Sydney", "Pacific/Auckland",
)  # fmt: skip
"""One zone for each rule of clocks that many live by; a match stands for all that share it."""
_SHOWN: Final = 3
_ENOUGH_TIMES: Final = 100
_QUIET_HOURS: Final = 6
_QUIET_SHARE: Final = 0.05


def fitting_zones(seen: Iterable[tuple[dt.datetime, str]]) -> tuple[str, ...]:
    """Zones whose clocks had every offset at the wall time it was seen with; at most three.

    One offset alone fits many: the answer is worth something once both halves of a year are seen.
    """
    pairs = [(wall, _minutes(offset)) for wall, offset in seen]
    fitting: Iterable[str] = (
        name for name in _COMMON if all(_fits(ZoneInfo(name), wall, want) for wall, want in pairs)
    )
    return tuple(fitting)[:_SHOWN] if pairs else ()


def quiet_hours(hours: Mapping[int, int]) -> str | None:
    """The six hours in which hardly anything happens, as ``23-05``; None without such a night.

    Times of people at work have a night: if it lies at night they are local times, if it lies
    elsewhere they are moved by that much.
    """
    total = sum(hours.values())
    if total < _ENOUGH_TIMES:
        return None
    sums = {
        first: sum(hours.get((first + each) % 24, 0) for each in range(_QUIET_HOURS))
        for first in range(24)
    }
    first = min(sums, key=lambda each: sums[each])
    if sums[first] > _QUIET_SHARE * total:
        return None
    return f"{first:02}-{(first + _QUIET_HOURS) % 24:02}"


def _minutes(offset: str) -> int:
    if offset == "Z":
        return 0
    sign = -1 if offset.startswith("-") else 1
    return sign * (60 * int(offset[1:3]) + int(offset[4:6]))


def _fits(zone: ZoneInfo, wall: dt.datetime, minutes: int) -> bool:
    wanted = dt.timedelta(minutes=minutes)
    try:
        return any(wall.replace(tzinfo=zone, fold=fold).utcoffset() == wanted for fold in (0, 1))
    except (OverflowError, ValueError):
        return False
