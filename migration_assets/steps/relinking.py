"""Relinking: whoever refers to a resource that is under another id now is sent again.

Belongs here: which units refer to what moved, by mapping their rows. Does not belong here: what
moved (``manifest.moves``), or making references literal (``resolution``).

Links are not kept on account: they would be several for each resource, and what they lead to hardly
ever moves. When it does, each stream that may refer to it is mapped once.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from migration_assets.manifest import Manifest, Unit, token
from migration_assets.mapping import Mapping
from migration_assets.steps.preparation import Prepared, prepare
from migration_assets.steps.transforming import ask

_CHUNK = 500


def relink(manifest: Manifest, mapping: Mapping[Any]) -> int:
    """Make units of a type pending whose links lead past what they mean; returns how many."""
    manifest.remapping.moves.note()
    moved = frozenset(manifest.remapping.moves.untold(mapping.stream))
    if not moved:
        return 0
    linked = [
        unit.id
        for unit in _written(manifest, mapping)
        if not moved.isdisjoint(references_of(mapping, unit))
    ]
    manifest.remapping.moves.told(mapping.stream, moved, linked)
    return len(linked)


def references_of(mapping: Mapping[Any], unit: Unit) -> set[str]:
    """Tokens of what a unit's resources refer to outside their own group."""
    # Without its targets and its deletion: all of it, as if it were to be written anew.
    made = prepare(mapping, replace(unit, targets=(), deleted=False))
    if not isinstance(made, Prepared):
        return set()
    return {
        token(found.target.resource_type, found.target.system, found.target.value)
        for references in made.references.values()
        for found in references
        if found.target not in made.references
    }


def _written(manifest: Manifest, mapping: Mapping[Any]) -> Iterator[Unit]:
    """Units of which Medplum holds anything."""
    last_id = 0
    while units := manifest.landed_units(mapping.stream, after_id=last_id, limit=_CHUNK):
        last_id = units[-1].id
        written = [
            unit
            for unit in units
            if any(each.fhir_id is not None and not each.deleted for each in unit.targets)
        ]
        asked = ask(mapping, written)
        asked.refuse_silence()
        yield from asked.units
