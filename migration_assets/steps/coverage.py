"""Which windows of a stream there are by now: what a whole backfill has read.

Belongs here: their names, as the asset's partitions have them. Does not belong here: pulling them,
or Dagster (``defs.partitions`` cuts time by the same rules, and a test keeps the two equal).
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Literal

Size = Literal["daily", "weekly", "monthly"]
_DAY = timedelta(days=1)
_SUNDAY = 6


def window_keys(size: Size, start: datetime, now: datetime) -> Iterator[str]:
    """The windows from ``start`` to the one that ``now`` is in, oldest first."""
    moment = start.astimezone(UTC)
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if day < moment:
        day += _DAY
    while day <= now:
        if (
            size == "daily"
            or (size == "weekly" and day.weekday() == _SUNDAY)
            or (size == "monthly" and day.day == 1)
        ):
            yield f"{day:%Y-%m-%d}"
        day += _DAY
