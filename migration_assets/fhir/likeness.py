"""Likenesses: what two patients must share to be taken for one person, by exact rules.

Belongs here: the rules, as hashes of what is compared. Does not belong here: who shares one
(``manifest.likenesses``), what becomes of them (``probable_duplicates``), or merging: whether two
records are one person is for people who know them.

Two patients probably are one person if they

1. carry the same identifier, system and value alike, other than the source's own key; or
2. have the same family name, the same given names in the same order, and the same whole date of
   birth. Names are the same but for case, composed or decomposed accents, and blanks.

Nothing is guessed beyond that: no sounds, no edit distances, no missing dates.
"""

import hashlib
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from migration_assets.fhir.identifiers import identifier_system
from migration_assets.mapping import Resource

SAME_IDENTIFIER = "same-identifier"
SAME_NAME_AND_BIRTH = "same-name-and-birth-date"

PERSON = "Patient"
_WHOLE_DATE = 10


@dataclass(frozen=True)
class Likeness:
    """What is compared under one rule, as a hash of 16 bytes: nothing readable is held on to."""

    rule: str
    print: bytes


def likenesses(resource: Resource) -> Iterator[Likeness]:
    """What another patient must share with this one; nothing of other types."""
    if resource["resourceType"] != PERSON:
        return
    for each in resource.get("identifier") or ():
        system, value = each.get("system"), each.get("value")
        if system and value and system != identifier_system(PERSON):
            yield Likeness(SAME_IDENTIFIER, _print(system, value))
    birth = resource.get("birthDate") or ""
    for name in resource.get("name") or ():
        given = [_plain(each) for each in name.get("given") or ()]
        family = _plain(name.get("family") or "")
        if family and any(given) and len(birth) == _WHOLE_DATE:
            yield Likeness(SAME_NAME_AND_BIRTH, _print(birth, family, *given))


def _plain(name: str) -> str:
    return " ".join(unicodedata.normalize("NFC", name).casefold().split())


def _print(*parts: str) -> bytes:
    return hashlib.blake2b("\0".join(parts).encode(errors="replace"), digest_size=16).digest()
