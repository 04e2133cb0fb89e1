"""Pending units, some at a time: all of a type, or those that a subset means.

Belongs here: in which order they are taken, and how many together. Does not belong here: what
becomes of them (``pipeline``).
"""

from collections.abc import Iterator, Sequence
from typing import Any

from migration_assets.manifest import Unit
from migration_assets.manifest.subsets import Subset
from migration_assets.mapping import Mapping
from migration_assets.run import Run

CHUNK = 500
"""Units prepared, looked up and settled together."""


def chosen(run: Run, mapping: Mapping[Any], subset: Subset | None) -> list[int] | None:
    """The units a subset means; those that it leaves out stay as they are."""
    if subset is None or subset.is_everything:
        return None
    return run.manifest.remapping.chosen(mapping.stream, subset, pending_only=True)


def pending(run: Run, mapping: Mapping[Any], only: Sequence[int] | None) -> Iterator[list[Unit]]:
    """Those that are pending, in landing order."""
    if only is not None:
        for start in range(0, len(only), CHUNK):
            yield run.manifest.remapping.pending_among(only[start : start + CHUNK])
        return
    last_id = 0
    while units := run.manifest.pending_units(mapping.stream, after_id=last_id, limit=CHUNK):
        last_id = units[-1].id
        yield units
