"""Probable duplicates: patients that may be one person are held and reported, never merged.

Belongs here: which units match by a rule, and holding those that Medplum does not have yet. Does
not belong here: the rules (``fhir.likeness``), or deciding: whether two records are one person is
for people who know them.

All pending patients are compared before the first is written: of two that come together neither is
believed to be the right one. A row that comes after the other was delivered is held alone. Once a
person redelivers it, or the other is gone, merged or different at the source, it goes out.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from migration_assets.fhir.likeness import PERSON, Likeness, likenesses
from migration_assets.manifest import Manifest, Settlement, State, Unit
from migration_assets.manifest.likenesses import PROBABLE_DUPLICATE
from migration_assets.manifest.remapping import SettledUnit
from migration_assets.mapping import Mapping
from migration_assets.steps.preparation import mapped
from migration_assets.steps.transforming import ask, bound

_AT_ONCE = 1_000


@dataclass(frozen=True)
class ProbableDuplicate:
    """Units that one rule takes for one person, as (stream, key)."""

    rule: str
    units: tuple[tuple[str, str], ...]


def probable_duplicates(
    manifest: Manifest, mappings: Iterable[Mapping[Any]]
) -> list[ProbableDuplicate]:
    """Groups of landed patients that match by a rule, whatever became of them.

    Deleted rows, rows merged at the source, and those that cannot be mapped are left out. Held in
    memory are hashes of what is compared, some 150 bytes a patient and rule.
    """
    alike: dict[Likeness, list[tuple[str, str]]] = defaultdict(list)
    for mapping in mappings:
        if PERSON not in mapping.types:
            continue
        said = bound(mapping, manifest, None)
        for unit in _landed(manifest, mapping.stream):
            for each in _likenesses(said, unit):
                alike[each].append((unit.stream, unit.key))
    found = {
        ProbableDuplicate(each.rule, tuple(units)) for each, units in alike.items() if units[1:]
    }
    return sorted(found, key=lambda each: (each.rule, each.units))


def hold(manifest: Manifest, mapping: Mapping[Any]) -> Iterator[list[Settlement]]:
    """What of a type's pending units is to be held, before anything of them is prepared.

    Units that were held and are like no other any more are made pending on the way.
    """
    if PERSON not in mapping.types:
        return
    for units in _pending(manifest, mapping.stream):
        ask(mapping, units).refuse_silence()
        manifest.likenesses.note(
            {
                unit.id: ((each.rule, each.print) for each in found)
                for unit in units
                if (found := _compared(mapping, unit)) is not None
            }
        )
    manifest.likenesses.release(mapping.stream)
    after = 0
    while alike := manifest.likenesses.pending(mapping.stream, after_id=after, limit=_AT_ONCE):
        after = alike[-1].unit_id
        yield [
            Settlement(
                unit_id=each.unit_id,
                revision=each.revision,
                state=State.QUARANTINED,
                reason=PROBABLE_DUPLICATE,
                field=each.rule,
                mapping_version=mapping.version,
            )
            for each in alike
        ]


def foreseen(
    manifest: Manifest, mapping: Mapping[Any], units: Iterable[SettledUnit]
) -> dict[int, str]:
    """Which of some units that are only looked at would be held, by id, and by which rule.

    They are compared with each other and with what is known of the other units on account.
    """
    mapping = bound(mapping, manifest, None)
    alike: dict[Likeness, set[int]] = defaultdict(set)
    owned: set[int] = set()
    if PERSON in mapping.types:
        for unit in (each.unit for each in units if not each.held):
            owned.update(unit.id for target in unit.targets if not target.deleted)
            for likeness in _likenesses(mapping, unit):
                alike[likeness].add(unit.id)
    known = manifest.likenesses.known((each.rule, each.print) for each in alike)
    found: dict[int, str] = {}
    for each, some in sorted(alike.items(), key=lambda one: one[0].rule, reverse=True):
        if len(some | known.get((each.rule, each.print), set())) > 1:
            found.update(dict.fromkeys(some - owned, each.rule))
    sent_on = manifest.likenesses.sent_on(found)
    return {unit: rule for unit, rule in found.items() if unit not in sent_on}


def _likenesses(mapping: Mapping[Any], unit: Unit) -> set[Likeness]:
    ask(mapping, [unit])  # a Bot's answers are looked up
    return _compared(mapping, unit) or set()


def _compared(mapping: Mapping[Any], unit: Unit) -> set[Likeness] | None:
    """What a unit can be like another in; None if its row says nothing now, as it is broken.

    What was known of it stays: Medplum may hold the person as the row was before.
    """
    if unit.deleted or unit.merged_into is not None:
        return set()
    resources = mapped(mapping, unit.row)
    return {each for one in resources for each in likenesses(one)} if resources else None


def _landed(manifest: Manifest, stream: str) -> Iterator[Unit]:
    after = 0
    while units := manifest.landed_units(stream, limit=_AT_ONCE, after_id=after):
        after = units[-1].id
        yield from units


def _pending(manifest: Manifest, stream: str) -> Iterator[list[Unit]]:
    after = 0
    while units := manifest.pending_units(stream, limit=_AT_ONCE, after_id=after):
        after = units[-1].id
        yield units
