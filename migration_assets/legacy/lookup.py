"""Asking for one row by its key, to learn whether one that did not come is gone.

Belongs here: what an answer says about that row. Does not belong here: whether the path works at
all: a 404 means that only after it has found a row known to be there, which the caller looks up
first (``sweeping``).
"""

from collections.abc import Callable
from dataclasses import replace
from urllib.parse import quote

from migration_assets.legacy.description import Stream
from migration_assets.legacy.rows import ABSENT, row_reader, value_at
from migration_assets.legacy.sighting import Presence, Sighting
from migration_assets.legacy.transport import Fetcher

_GONE = frozenset({404, 410})


def path_of_one(stream: Stream) -> str | None:
    """The path that is asked for one row by its key alone, or None if there is none."""
    path = stream.confirm if stream.confirm is not None else stream.detail
    if path is None or "{parent}" in path or len(stream.id) > 1:
        return None
    return path.replace("{stream}", stream.name)


def look_up(
    fetcher: Fetcher, stream: Stream, key: str, *, url: Callable[[str], str], where: str
) -> Sighting:
    """Whether the source has a row. A tombstone is gone; one merged into another is not.

    UNKNOWN where there is no path, or where what came is not that row: an error told with a 200
    says nothing about it.

    Raises:
        Permanent, Transient: as the transport does, for any other status.
    """
    path = path_of_one(stream)
    if path is None or key in (".", ".."):  # a step in a path, which no quoting prevents
        return Sighting(Presence.UNKNOWN)
    address = url(path.replace("{id}", quote(key, safe="")))
    answer = fetcher.fetch(address, (), where=where, gone=_GONE)
    if answer.skipped:
        return Sighting(Presence.GONE if answer.status in _GONE else Presence.UNKNOWN)
    found = value_at(answer.body, stream.confirm_select or stream.detail_select)
    row = row_reader(stream)(None if found is ABSENT else found, flawed=answer.flawed)
    if row.key != key:
        return Sighting(Presence.UNKNOWN)
    if row.problem == "change-time-unreadable":  # it may be in the list only
        row = replace(row, problem=None)
    presence = Presence.GONE if row.deleted else Presence.PRESENT
    return Sighting(presence, row, landable=stream.confirm is None)
