"""Relinking: whoever refers to a resource that is under another id now is sent again.

Belongs here: which units refer to what moved, by mapping their rows. Does not belong here: what
moved (``manifest.moves``), or making references literal (``resolution``).

What links lead to hardly ever moves. When it does, each stream that may refer to it is mapped once.
A purged row cannot be: there it counts what its resources were delivered with, and the unit is made
pending all the same. It is quarantined as ``payload-purged`` then, for its window to be pulled.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from migration_assets.manifest import Manifest, Unit, token
from migration_assets.manifest.payload import PURGED
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
    linked: list[int] = []
    for units in _written(manifest, mapping):
        purged = _delivered(manifest, [each for each in units if each.row is PURGED])
        linked += [
            unit.id
            for unit in units
            if not moved.isdisjoint(
                purged[unit.id] if unit.id in purged else references_of(mapping, unit)
            )
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


def _delivered(manifest: Manifest, units: list[Unit]) -> dict[int, set[str]]:
    """What the resources of units were delivered with references to, by unit."""
    named = manifest.reconciliations.named_by(each.token for one in units for each in one.targets)
    return {
        unit.id: {name for each in unit.targets for name in named.get(each.token, ())}
        for unit in units
    }


def _written(manifest: Manifest, mapping: Mapping[Any]) -> Iterator[list[Unit]]:
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
        yield list(asked.units)
