"""Reading a resource for its row: the way back of ``elements``, ``identifiers`` and ``references``.

Belongs here: where in a resource the parts of a row are. Does not belong here: codes
(``terminology.back``), or whether all that a resource says has a place in the row: whoever writes
back builds the resource again from the row and compares (``operations.reversing``), so a reader may
take the first of several and need not look at the rest.
"""

from typing import Any

from migration_assets.fhir.elements import Element
from migration_assets.fhir.identifiers import identifier_system
from migration_assets.fhir.references import parse_reference
from migration_assets.mapping import Quarantined, Resource

ELSEWHERE = "reference-not-on-account"
"""Reason of an edit that refers to what no row stands for."""


def first(element: Any) -> Any:
    """The first item of a repeating element; an empty element where there is none."""
    return element[0] if isinstance(element, list) and element else {}


def at(element: Any, *steps: str | int) -> Any:
    """What some steps lead to, or None."""
    for step in steps:
        if isinstance(step, int):
            element = element[step] if isinstance(element, list) and step < len(element) else None
        else:
            element = element.get(step) if isinstance(element, dict) else None
    return element


def own_key(resource: Resource) -> str | None:
    """The source's key of a resource; None for one that it never had."""
    system = identifier_system(str(resource.get("resourceType", "")))
    return identifier_of(resource, system)


def identifier_of(resource: Resource, system: str) -> str | None:
    """The value of the first identifier in a system."""
    for each in resource.get("identifier") or ():
        if each.get("system") == system and each.get("value"):
            return str(each["value"])
    return None


def contact(resource: Resource, system: str) -> str | None:
    """The value of the first contact point of a kind: phone, email."""
    for each in resource.get("telecom") or ():
        if each.get("system") == system:
            return str(each["value"]) if each.get("value") else None
    return None


def key_of(element: Element | None, resource_type: str, path: str) -> str | None:
    """The source's key of what a reference leads to; None where there is no reference.

    Raises:
        Quarantined: ``reference-not-on-account``.
    """
    text = at(element, "reference")
    if not element:
        return None
    target = parse_reference(text) if isinstance(text, str) else None
    if (
        target is None
        or target.resource_type != resource_type
        or target.system != identifier_system(resource_type)
    ):
        raise Quarantined(ELSEWHERE, path)
    return target.value
