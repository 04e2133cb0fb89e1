"""Which fields of the landed rows say anything, and in how many rows.

Belongs here: one pass over a stream, and a few rows kept in memory as evidence. Does not belong
here: what the fields mean. Values are kept only for the trace of a mapping, and never told.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from migration_assets.manifest import Contents
from migration_assets.profiling.places import is_populated, kind_of, places

_MOST_FIELDS = 800
_KEPT_PER_FIELD = 6
_KEPT = 120
_SCALARS = ("text", "integer", "number", "boolean", "not-a-number")


@dataclass(frozen=True)
class Population:
    """Of the rows of a stream those in which a field says something; and rows to trace with."""

    rows: int
    populated: dict[str, int]
    specimens: tuple[dict[str, Any], ...]

    def share(self, path: str) -> float:
        """Share of the rows in which a field says something."""
        return self.populated.get(path, 0) / self.rows if self.rows else 0.0


def population(contents: Contents, stream: str) -> Population:
    """Look at every landed row of a stream once."""
    rows = 0
    populated: Counter[str] = Counter()
    specimens: list[dict[str, Any]] = []
    for page in contents.rows(stream):
        rows += len(page)
        for each in page:
            if not isinstance(each.row, dict):
                continue
            found = populated_paths(each.row)
            # A row that shows a field few kept ones show is worth keeping.
            rare = any(populated[path] < _KEPT_PER_FIELD for path in found)
            if rare and len(specimens) < _KEPT:
                specimens.append(each.row)
            known = len(populated) < _MOST_FIELDS
            populated.update(path for path in found if known or path in populated)
    return Population(rows, dict(populated), tuple(specimens))


def populated_paths(row: Any) -> set[str]:
    """The fields of a row that hold a value, not objects or lists."""
    return {
        place.path
        for place in places(row)
        if kind_of(place.value) in _SCALARS and is_populated(place.value)
    }
