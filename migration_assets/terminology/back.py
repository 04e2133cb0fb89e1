"""The way back: the source's own code of a coding, where the maps say which one it is.

Belongs here: looking concept maps up from the other side. Does not belong here: a default. Several
local codes may have one standard code; which of them is meant is the row's to say, so a code is
taken back only where there is one, or where the row's is among them, or one that is spelt like it.
"""

from typing import Any

from migration_assets.fhir.elements import Element
from migration_assets.mapping import Quarantined
from migration_assets.terminology.concept_map import concept_map

NO_LOCAL_CODE = "no-local-code"
"""Reason of an edit to a code that the source has no code for."""
SEVERAL_LOCAL_CODES = "several-local-codes"
"""Reason of an edit to a code for which the source has several."""


def local_code(map_name: str, code: Any, path: str, *, now: Any = None) -> str | None:
    """The source's code for a standard ``code``; None if absent. ``now`` is the row's.

    Raises:
        Quarantined: ``no-local-code``, ``several-local-codes``.
    """
    if not code:
        return None
    known = concept_map(map_name).translations
    found = [
        local
        for local, translation in known.items()
        if translation.standard and translation.standard[0].get("code") == code
    ]
    return _one([code] if code in found and now not in found else found, path, now)


def local_concept(
    map_name: str, concept: Element | None, path: str, *, now: Any = None
) -> str | None:
    """The source's code of a concept: its own coding where there is one, else by a standard one.

    Raises:
        Quarantined: as ``local_code``.
    """
    codings = (concept or {}).get("coding") or ()
    if not codings:
        if concept:  # words alone
            raise Quarantined(NO_LOCAL_CODE, path)
        return None
    known = concept_map(map_name)
    for each in codings:
        if each.get("system") == known.system:
            return str(each.get("code"))
    said = {(each.get("system"), each.get("code")) for each in codings}
    found = [
        local
        for local, translation in known.translations.items()
        if any((one.get("system"), one.get("code")) in said for one in translation.standard)
    ]
    return _one(found, path, now)


def _one(found: list[str], path: str, now: Any) -> str:
    if now in found:
        return str(now)
    if len(found) != 1:
        raise Quarantined(SEVERAL_LOCAL_CODES if found else NO_LOCAL_CODE, path)
    return found[0]
