"""One partitions definition for every type, over the stream's change time (design §7).

Belongs here: partition keys → windows to pull. The first window has no beginning and the last no
end, so that the windows tile the whole time line: a row changed before the first partition, or
dated in the future, falls in a window too.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import dagster as dg

from migration_assets.run import Way, Window
from migration_assets.settings import Settings


def change_time_partitions(settings: Settings) -> dg.TimeWindowPartitionsDefinition:
    """Partitions by ``settings.partitions`` from ``settings.start``, the open one included."""
    start = settings.start_at
    match settings.partitions:
        case "daily":
            return dg.DailyPartitionsDefinition(start_date=start, end_offset=1)
        case "weekly":
            return dg.WeeklyPartitionsDefinition(start_date=start, end_offset=1)
        case "monthly":
            return dg.MonthlyPartitionsDefinition(start_date=start, end_offset=1)


def windows(
    partitions: dg.TimeWindowPartitionsDefinition,
    keys: Sequence[str],
    *,
    now: datetime,
    mark: datetime | None = None,
    lookback: timedelta = timedelta(0),
) -> list[Window]:
    """The windows to pull for ``keys``.

    Without ``mark`` whole windows are pulled and recorded, and their rows looked at again. With it
    this is an incremental pull: the same windows, clipped at the mark less the lookback. The first
    reaches back to there even beyond its own beginning: it moves the mark, and what lies between
    would never be read.
    """
    first = partitions.get_first_partition_key()
    reach = mark - lookback if mark is not None else None
    made: list[Window] = []
    for key in keys:
        span = partitions.time_window_for_partition_key(key)
        since = None if key == first else span.start
        until = None if span.end > now else span.end
        if reach is None:
            made.append(Window(since, until, partition=key))
        elif until is None or until > reach:
            clipped = max(since, reach) if since and made else reach
            made.append(Window(clipped, until, way=Way.INCREMENTAL))
    return made
