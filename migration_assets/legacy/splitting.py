"""Windows cut to what a source can answer: by its largest window, and in half when it is too much.

Belongs here: where to cut. Does not belong here: when (``pull``), or how a bound is written
(``timestamps``). Every cut lies on the API's tick: two halves inside one tick would both be sent
as the whole.
"""

import datetime as dt
from collections.abc import Iterator

from migration_assets.legacy.description import Cursor
from migration_assets.legacy.reading import Window
from migration_assets.legacy.timestamps import floor_to_tick, tick_of


def cut_to_largest(window: Window, cursor: Cursor | None, now: dt.datetime) -> Iterator[Window]:
    """The window itself, or pieces no longer than ``max_window_seconds``.

    Such an API wants both ends, so an open beginning is ``earliest`` and an open end lies one
    piece beyond now at most: rows dated later are not asked for.
    """
    if cursor is None or cursor.max_window_seconds is None:
        yield window
        return
    length = dt.timedelta(seconds=cursor.max_window_seconds)
    begin = window.since or cursor.earliest or now
    end = window.until or max(now, begin) + dt.timedelta(seconds=1)
    while begin < end:
        latest = begin + length
        following = latest if window.until is None else min(latest, end)
        yield Window(begin, following)
        begin = following


def halves(window: Window, cursor: Cursor | None, now: dt.datetime) -> tuple[Window, Window] | None:
    """Two windows for one, or None if it cannot be cut: one tick, or an end nobody knows."""
    if cursor is None or cursor.param is None or cursor.until_param is None:
        return None
    if window.since is None:
        begin = cursor.earliest
        if begin is None or (window.until is not None and window.until <= begin):
            return None
        return Window(None, begin), Window(begin, window.until)
    end = window.until or now
    middle = floor_to_tick(cursor, window.since + (end - window.since) / 2)
    if middle <= window.since:
        middle = floor_to_tick(cursor, window.since + tick_of(cursor))
    if not window.since < middle < end:
        return None
    return Window(window.since, middle), Window(middle, window.until)
