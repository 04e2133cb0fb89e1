"""Probable duplicates: patients that may be one person, by exact rules. Reported, never merged.

Belongs here: the rules, and which units match by one. Does not belong here: deciding, or merging:
whether two records are one person is for people who know them.

Two patients probably are one person if their rows, as mapped,

1. carry the same identifier, system and value alike, other than the source's own key; or
2. have the same family name, the same given names in the same order, and the same whole date of
   birth. Names are the same but for case, composed or decomposed accents, and blanks.

Nothing is guessed beyond that: no sounds, no edit distances, no missing dates. Only keys are told.
"""

import hashlib
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from migration_assets.fhir.identifiers import identifier_system
from migration_assets.manifest import Manifest, Unit
from migration_assets.mapping import Mapping, Resource
from migration_assets.preparation import mapped

SAME_IDENTIFIER = "same-identifier"
SAME_NAME_AND_BIRTH = "same-name-and-birth-date"

_PATIENT = "Patient"
_WHOLE_DATE = 10
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
    alike: dict[tuple[str, bytes], list[tuple[str, str]]] = defaultdict(list)
    for mapping in mappings:
        if _PATIENT not in mapping.types:
            continue
        for unit in _units(manifest, mapping.stream):
            for trait in {each for one in mapped(mapping, unit.row) for each in _traits(one)}:
                alike[trait].append((unit.stream, unit.key))
    found = {
        ProbableDuplicate(rule, tuple(units))
        for (rule, _print), units in alike.items()
        if len(units) > 1
    }
    return sorted(found, key=lambda each: (each.rule, each.units))


def _units(manifest: Manifest, stream: str) -> Iterator[Unit]:
    after = 0
    while units := manifest.landed_units(stream, limit=_AT_ONCE, after_id=after):
        after = units[-1].id
        yield from (each for each in units if not each.deleted and each.merged_into is None)


def _traits(resource: Resource) -> Iterator[tuple[str, bytes]]:
    """What two patients must share, by rule, as hashes: nothing readable is held on to."""
    if resource["resourceType"] != _PATIENT:
        return
    for each in resource.get("identifier") or ():
        system, value = each.get("system"), each.get("value")
        if system and value and system != identifier_system(_PATIENT):
            yield SAME_IDENTIFIER, _print(system, value)
    birth = resource.get("birthDate") or ""
    for name in resource.get("name") or ():
        given = [_plain(each) for each in name.get("given") or ()]
        family = _plain(name.get("family") or "")
        if family and any(given) and len(birth) == _WHOLE_DATE:
            yield SAME_NAME_AND_BIRTH, _print(birth, family, *given)


def _plain(name: str) -> str:
    return " ".join(unicodedata.normalize("NFC", name).casefold().split())


def _print(*parts: str) -> bytes:
    return hashlib.blake2b("\0".join(parts).encode(errors="replace"), digest_size=16).digest()
