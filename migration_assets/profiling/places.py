"""The fields of a row as dotted paths: ``address.city``, ``components[].code``.

Belongs here: walking any JSON value. Does not belong here: what is said of a value. A list is
summed up: its items share one path. A name that looks like data (``{"P000123": …}``) is ``*``,
for a report prints the names of fields.
"""

import math
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

DEEPEST = 12
"""Levels below which a value is told as an object or a list, whatever is in it."""

_NAME = re.compile(r"[^\W\d][\w@$:\- ]{0,63}")
_MANY_DIGITS = re.compile(r"\d{3}")


class Place(NamedTuple):
    """A value where it stands; ``parent`` is the path of the object it is a field of, if of one."""

    path: str
    parent: str | None
    value: Any


def places(row: Any) -> Iterator[Place]:
    """Every value of a row, the objects and lists themselves included, but not the row itself."""
    left: list[tuple[Place, int]] = [(Place("", None, row), 0)]
    while left:
        place, depth = left.pop()
        if depth:
            yield place
        path, value = place.path, place.value
        if depth >= DEEPEST:
            continue
        if isinstance(value, dict):
            inner = [Place(_under(path, name), path, each) for name, each in value.items()]
        elif isinstance(value, list) and depth:
            inner = [Place(f"{path}[]", None, each) for each in value]
        else:
            continue
        left.extend((each, depth + 1) for each in reversed(inner))


def kind_of(value: Any) -> str:
    """What JSON calls it: null, boolean, integer, number, text, list or object."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number" if math.isfinite(value) else "not-a-number"
    if isinstance(value, str):
        return "text"
    return "list" if isinstance(value, list) else "object"


def is_populated(value: Any) -> bool:
    """Whether there is anything: not null, not blank, not an empty list or object."""
    if isinstance(value, str):
        return bool(value.strip())
    return value is not None and value not in ([], {})


def last_name(path: str) -> str:
    """The name a path ends with: ``code`` of ``components[].code``."""
    return path.replace("[]", "").rpartition(".")[2]


def _under(path: str, name: str) -> str:
    known = _NAME.fullmatch(name) and not _MANY_DIGITS.search(name)
    shown = name if known else "*"
    return f"{path}.{shown}" if path else shown


ABSENT: Final = object()
"""What ``value_at`` returns where there is nothing, for None is something."""


def value_at(row: Any, path: str) -> Any:
    """The value at a path, the first where there are several."""
    return next((place.value for place in places(row) if place.path == path), ABSENT)


def with_value(row: Any, path: str, value: Any) -> Any:
    """A copy of the row with another value in the first place the path leads to, if to any.

    Not of a name that was not told (``*``): what it stood for is not known here.
    """
    return _changed_copy(row, path.replace("[]", ".[]").split("."), value)


def without(row: Any, path: str) -> Any:
    """A copy of the row without the first place the path leads to."""
    return with_value(row, path, ABSENT)


def _changed_copy(value: Any, steps: list[str], new: Any) -> Any:
    if not steps:
        return new
    step, *rest = steps
    if step == "[]":
        at = next(number for number, each in enumerate(value) if _leads_on(each, rest))
        inner = _changed_copy(value[at], rest, new)
        return [*value[:at], *([] if inner is ABSENT else [inner]), *value[at + 1 :]]
    if not _leads_on(value, steps):
        return value
    inner = _changed_copy(value[step], rest, new)
    if inner is ABSENT:
        return {name: each for name, each in value.items() if name != step}
    return value | {step: inner}


def _leads_on(value: Any, steps: list[str]) -> bool:
    if not steps:
        return True
    step, *rest = steps
    if step == "[]":
        return isinstance(value, list) and any(_leads_on(each, rest) for each in value)
    return isinstance(value, dict) and step in value and _leads_on(value[step], rest)
