"""From a page's JSON to ``PulledRow``: key, change time, tombstone, and what is wrong with it.

Belongs here: reading one row without changing or dropping it. Does not belong here: which rows
are in the window (``pull``), or a stable key for rows that have none (``manifest``).
"""

import datetime as dt
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import orjson

from migration_assets.legacy.description import Stream, Tombstone
from migration_assets.legacy.timestamps import time_reader

ABSENT = object()
"""What ``value_at`` returns where there is nothing, for None is something."""


@dataclass(frozen=True, slots=True)
class PulledRow:
    """A row as it came, with what we could read from it.

    ``key`` is None if the row has no usable id. ``changed_at`` is UTC; None without a cursor, or
    if it could not be read. ``deleted``: the row is a tombstone. ``problem`` is the first of
    ``not-an-object``, ``invalid-utf8``, ``number-not-json``, ``id-missing``, ``id-not-scalar``,
    ``change-time-unreadable``, or None. A row marked ``invalid-utf8`` holds lone surrogates, which
    neither orjson nor a database takes: write it with ``json.dumps`` (ASCII). ``detail-missing``,
    ``detail-of-another`` and ``id-not-addressable`` are said where a detail is fetched. ``parent``
    is the key of the parent a row was asked for by. ``archived``: put away, not deleted.
    ``merged_into`` is the key of the row that stands for this one now; ``merge-target-unreadable``
    if there is one that is no key. ``volatile`` fields say nothing about whether a row changed.
    """

    key: str | None
    row: Any
    changed_at: dt.datetime | None
    deleted: bool
    problem: str | None
    parent: str | None = None
    archived: bool = False
    merged_into: str | None = None
    volatile: tuple[str, ...] = ()


class RowReader(Protocol):
    """From a row, and whether its page was flawed, to what was read."""

    def __call__(self, row: Any, *, flawed: bool = False) -> PulledRow:
        """Never raises: whatever is wrong is the row's ``problem``."""


_Finder: TypeAlias = Callable[[Any], Any]
_Key: TypeAlias = tuple[str | None, str | None]  # the key, or the problem


def value_at(value: Any, path: str) -> Any:
    """What a dotted path leads to, or ``ABSENT``; ``$`` is the value itself."""
    if path == "$":
        return value
    for part in path.split("."):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return ABSENT
    return value


def row_reader(stream: Stream) -> RowReader:
    """A function that reads the rows of one stream; made once, for it runs per row."""
    key_of = _key_finder(stream.id)
    change_time_of = time_reader(stream.cursor) if stream.cursor else None
    field = _finder(stream.cursor.field) if stream.cursor else None
    pass_null = stream.cursor is not None and stream.cursor.on_null == "keep"
    is_deleted, is_archived = _flag(stream.tombstone), _flag(stream.archived)
    target = _finder(stream.merged_into) if stream.merged_into is not None else None
    volatile = stream.volatile

    def read(row: Any, *, flawed: bool = False) -> PulledRow:
        if not isinstance(row, dict):
            return PulledRow(None, row, None, deleted=False, problem="not-an-object")
        key, problem = key_of(row)
        if flawed and (defect := _defect(row)):
            key, problem = _unbroken(key), defect
        changed_at = None
        if field is not None and change_time_of is not None:
            found = field(row)
            changed_at = change_time_of(found)
            if changed_at is None and problem is None and not (pass_null and _is_null(found)):
                problem = "change-time-unreadable"
        merged_into = None
        if target is not None:
            merged_into, merge_problem = _merged_into(target(row))
            problem = problem or merge_problem
        return PulledRow(
            key,
            row,
            changed_at,
            is_deleted is not None and is_deleted(row),
            problem,
            None,
            is_archived is not None and is_archived(row),
            merged_into,
            volatile,
        )

    return read


def _flag(described: Tombstone | None) -> Callable[[Any], bool] | None:
    if described is None:
        return None
    find, means = _finder(described.path), described.truthy

    def holds(row: Any) -> bool:
        found = find(row)
        return bool(found is not ABSENT and found) is means

    return holds


def _is_null(value: Any) -> bool:
    return value is None or value is ABSENT or value == ""


def _merged_into(value: Any) -> _Key:
    """None, false and blank mean that the row was not merged."""
    if _is_null(value) or value is False:
        return None, None
    key, _ = _key_text(value)
    return (key, None) if key is not None else (None, "merge-target-unreadable")


def _finder(path: str) -> _Finder:
    if "." in path or path == "$":
        return lambda row: value_at(row, path)
    return lambda row: row.get(path, ABSENT)


def _key_finder(paths: tuple[str, ...]) -> Callable[[Any], _Key]:
    finders = [_finder(path) for path in paths]
    if len(finders) == 1:
        find = finders[0]
        return lambda row: _key_text(find(row))

    def composed(row: Any) -> _Key:
        parts = []
        for find in finders:
            part, problem = _key_text(find(row))
            if part is None:
                return None, problem
            parts.append(part)
        # A JSON array: a separator that may also stand in a part would merge two keys into one.
        return _joined(parts), None

    return composed


def _joined(parts: list[str]) -> str:
    try:
        return orjson.dumps(parts).decode()
    except TypeError:  # a lone surrogate; the row is marked as flawed and loses this key
        return "\udc00"


def _key_text(value: Any) -> _Key:
    if isinstance(value, str):
        return (value, None) if value and not value.isspace() else (None, "id-missing")
    if value is None or value is ABSENT:
        return None, "id-missing"
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value), None
    return None, "id-not-scalar"


def _unbroken(key: str | None) -> str | None:
    return None if key is None or broken(key) else key


def broken(text: str) -> bool:
    """True if no encoder takes it: it holds a lone surrogate."""
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _defect(row: Any) -> str | None:
    """What strict JSON would not have let through anywhere in the row."""
    left = [row]
    while left:
        value = left.pop()
        if isinstance(value, str) and broken(value):
            return "invalid-utf8"
        if isinstance(value, float) and not math.isfinite(value):
            return "number-not-json"
        if isinstance(value, dict):
            left.extend(value.keys())
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)
    return None
