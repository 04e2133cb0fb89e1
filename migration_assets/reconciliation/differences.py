"""Where two resources differ, element by element, and in what way (pure).

Belongs here: paths and words for differences; never values, which are patients'. Does not belong
here: which resource ought to be right (``expectation``).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import zip_longest
from typing import Any, Final

from migration_assets.mapping import Resource
from migration_assets.medplum.contents import stripped

_NOTHING: Final = object()
_CODED = frozenset({"code", "system"})
_MEASURED = frozenset({"value", "comparator", "unit"})
_QUANTITY = re.compile(r"(?:Quantity|quantity|low|high|dose|numerator|denominator)$")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d.*(?:Z|[+-]\d\d:\d\d)")
_DATE = re.compile(r"\d{4}(?:-\d\d(?:-\d\d(?:T.*)?)?)?")


@dataclass(frozen=True)
class Difference:
    """One element that differs.

    ``way`` is added, removed, reference, code, quantity, zone (one instant, written in another
    zone), precision (of a date), date or value.
    """

    path: str
    way: str


def differences(expected: Resource, found: Resource) -> tuple[Difference, ...]:
    """Elements in which ``found`` is not what was expected, in document order.

    What Medplum adds does not count: id, version, times, author, and the display that it puts
    beside a reference it resolved (contract §5).
    """
    kind = str(expected.get("resourceType", found.get("resourceType", "")))
    return tuple(_between(stripped(expected), stripped(found), kind))


def _between(expected: Any, found: Any, path: str) -> Iterator[Difference]:
    if isinstance(expected, dict) and isinstance(found, dict):
        yield from _of_objects(expected, found, path)
    elif isinstance(expected, list) and isinstance(found, list):
        for index, (one, other) in enumerate(zip_longest(expected, found, fillvalue=_NOTHING)):
            yield from _of_items(one, other, f"{path}[{index}]")
    elif expected != found or isinstance(expected, bool) is not isinstance(found, bool):
        yield Difference(path, _way(path, expected, found))


def _of_objects(expected: Resource, found: Resource, path: str) -> Iterator[Difference]:
    for name in (*expected, *(each for each in found if each not in expected)):
        if name not in expected and name == "display" and "reference" in expected:
            continue
        one, other = expected.get(name, _NOTHING), found.get(name, _NOTHING)
        yield from _of_items(one, other, f"{path}.{name}")


def _of_items(expected: Any, found: Any, path: str) -> Iterator[Difference]:
    if found is _NOTHING:
        yield Difference(path, "removed")
    elif expected is _NOTHING:
        yield Difference(path, "added")
    else:
        yield from _between(expected, found, path)


def _way(path: str, expected: Any, found: Any) -> str:
    steps = re.sub(r"\[\d+\]", "", path).split(".")
    name, parent = steps[-1], steps[-2] if len(steps) > 1 else ""
    if name == "reference":
        return "reference"
    if name in _MEASURED and _QUANTITY.search(parent):
        return "quantity"
    if name in _CODED:
        return "code"
    if isinstance(expected, str) and isinstance(found, str):
        return _of_dates(expected, found)
    return "value"


def _of_dates(expected: str, found: str) -> str:
    if not (_DATE.fullmatch(expected) and _DATE.fullmatch(found)):
        return "value"
    if _INSTANT.fullmatch(expected) and _INSTANT.fullmatch(found):
        try:
            same = datetime.fromisoformat(expected) == datetime.fromisoformat(found)
        except ValueError:
            return "date"
        return "zone" if same else "date"
    if expected.startswith(found) or found.startswith(expected):
        return "precision"
    return "date"
