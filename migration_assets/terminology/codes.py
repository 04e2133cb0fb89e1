"""Codes: a local code as a FHIR code, coding or concept, or a quarantine.

Belongs here: the three ways a mapping uses a concept map. Does not belong here: the maps or their
format (``concept_map``). No way has a default.
"""

from migration_assets.fhir.elements import Element, codeable_concept
from migration_assets.mapping import Quarantined
from migration_assets.terminology.concept_map import Translation, Unmapped, concept_map


def code(
    map_name: str, local_code: str | None, field: str, *, required: bool = False
) -> str | None:
    """The standard code for an element that takes nothing else (gender, status); None if absent.

    Raises:
        Quarantined: ``unmapped-code``, for a code that the map does not have or has no standard
            code for; ``missing-code``, if ``required`` and absent.
        Permanent: the map is at fault.
    """
    standard = coding(map_name, local_code, field, required=required)
    return None if standard is None else str(standard["code"])


def coding(
    map_name: str, local_code: str | None, field: str, *, required: bool = False
) -> Element | None:
    """The standard coding for an element that takes a single one; None if absent.

    Raises:
        Quarantined, Permanent: as ``code``.
    """
    if not local_code:
        return _absent(field, required=required)
    translation = concept_map(map_name).translate(local_code)
    if isinstance(translation, Unmapped) or not translation.standard:
        raise Quarantined("unmapped-code", field)
    return dict(translation.standard[0])


def concept(
    map_name: str,
    local_code: str | None,
    field: str,
    *,
    text: str | None = None,
    named: bool = False,
    required: bool = False,
    standard_required: bool = False,
) -> Element | None:
    """A concept that keeps the local coding first and adds the standard ones; None if absent.

    Args:
        map_name: the concept map.
        local_code: the source's code.
        field: the row's field it comes from.
        text: the source's own words, which let a code pass that is in no map.
        named: write the local display as text when the source has no words, as the guide does.
        required: neither code nor text is a fault.
        standard_required: the element's binding is required: a standard coding there must be.

    Raises:
        Quarantined: ``unmapped-code``, ``missing-code``.
        Permanent: the map is at fault.
    """
    if not local_code:
        return codeable_concept(text=text) or _absent(field, required=required)
    translation = concept_map(map_name).translate(local_code)
    standard = translation.standard if isinstance(translation, Translation) else ()
    if (standard_required and not standard) or (isinstance(translation, Unmapped) and not text):
        raise Quarantined("unmapped-code", field)
    words = text or (translation.local.get("display") if named else None)
    return codeable_concept(dict(translation.local), *(dict(each) for each in standard), text=words)


def _absent(field: str, *, required: bool) -> Element | None:
    if required:
        raise Quarantined("missing-code", field)
    return None
