"""What an undo may write: types that are ours to write, and of those the cohorts that are.

Belongs here: refusing, before anything is looked at. Does not belong here: undoing.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from migration_assets.adoption import Adoption
from migration_assets.errors import Permanent
from migration_assets.manifest import Manifest
from migration_assets.manifest.history import RunWrote, WrittenUnit
from migration_assets.mapping import Mapping as RowMapping
from migration_assets.steps.cohorts import owned_units


def types_to_undo(
    adoption: Adoption, mappings: Mapping[str, RowMapping[Any]], runs: Iterable[RunWrote]
) -> list[str]:
    """The types whose streams the runs wrote; each must still be ours to write.

    Raises:
        Permanent: one is Medplum's, or no mapping makes it any more.
    """
    by_type = {name: each.resource_type for each in mappings.values() for name in each.types}
    wrote = {kind for run in runs for kind, _event, _number in run.wrote}
    unknown = sorted(wrote - by_type.keys())
    if unknown:
        raise Permanent(f"The run wrote {', '.join(unknown)}, which no mapping makes any more.")
    types = sorted({by_type[kind] for kind in wrote})
    for each in types:
        standing = adoption.standing(each)
        if not standing.may_deliver:
            raise Permanent(f"{each} cannot be undone: {standing.refusal}")
    return types


def owned_among(
    manifest: Manifest,
    adoption: Adoption,
    mappings: Mapping[str, RowMapping[Any]],
    units: Iterable[WrittenUnit],
) -> set[int]:
    """Those of some units whose cohort is Medplum's, or may be."""
    by_stream: dict[str, set[int]] = defaultdict(set)
    for unit in units:
        by_stream[unit.stream].add(unit.id)
    found: set[int] = set()
    for each in mappings.values():
        standing = adoption.standing(each.resource_type)
        found |= owned_units(manifest, each, standing, by_stream.pop(each.stream, ()))
    return found
