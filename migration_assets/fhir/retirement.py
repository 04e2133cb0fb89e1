"""Marks on resources whose row was deleted, put away or merged at the source (pure).

Belongs here: which element says so in each type, as FHIR's own definitions have it. Does not
belong here: when a row counts as deleted (``sweeping``), or a type's policy (``Mapping.removal``).
"""

from collections.abc import Iterable
from functools import cache
from typing import Any, Final

from migration_assets.fhir.references import reference
from migration_assets.fhir.structure import Element, resource_shape
from migration_assets.mapping import Quarantined, Removal, Resource

_IN_ERROR: Final = "entered-in-error"


@cache
def supports(resource_type: str, removal: Removal) -> bool:
    """Whether resources of a type can be marked so."""
    if removal is Removal.INACTIVE:
        return _element(resource_type, "active") is not None
    if removal is Removal.ENTERED_IN_ERROR:
        return _status_takes_it(resource_type) or _verification_system(resource_type) is not None
    return True


def retired(resources: Iterable[Resource], removal: Removal) -> tuple[Resource, ...]:
    """The resources marked as removed; ``removal`` is one of the two marks, not a deletion.

    Raises:
        Quarantined: ``removal-cannot-be-marked`` where the type has no element for it.
    """
    return tuple(_retired(each, removal) for each in resources)


def put_away(resources: Iterable[Resource]) -> tuple[Resource, ...]:
    """The resources of an archived row: no longer active, where the type can say so."""
    return tuple(
        {**each, "active": False} if supports(each["resourceType"], Removal.INACTIVE) else each
        for each in resources
    )


def merged(resources: Iterable[Resource], into: str) -> tuple[Resource, ...]:
    """The resources of a row that another stands for now; a Patient names it.

    ``into`` is the source key of the other row. FHIR R4, Patient.link: ``replaced-by`` says that
    the resource with the link must no longer be used.
    """
    return tuple(_merged(each, into) for each in put_away(resources))


def _retired(resource: Resource, removal: Removal) -> Resource:
    kind = str(resource["resourceType"])
    if not supports(kind, removal):
        raise Quarantined("removal-cannot-be-marked", kind)
    if removal is Removal.INACTIVE:
        return {**resource, "active": False}
    if _status_takes_it(kind):
        return {**resource, "status": _IN_ERROR}
    # con-5, ait-2: what was entered in error has no clinical status.
    kept = {name: value for name, value in resource.items() if name != "clinicalStatus"}
    coding = [{"system": _verification_system(kind), "code": _IN_ERROR}]
    return {**kept, "verificationStatus": {"coding": coding}}


def _merged(resource: Resource, into: str) -> Resource:
    if resource["resourceType"] != "Patient":
        return resource
    link: dict[str, Any] = {"other": reference("Patient", into), "type": "replaced-by"}
    return {**resource, "link": [*(resource.get("link") or ()), link]}


def _element(resource_type: str, name: str) -> Element | None:
    shape = resource_shape(resource_type)
    return shape.elements.get(name) if shape is not None else None


def _status_takes_it(resource_type: str) -> bool:
    status = _element(resource_type, "status")
    return status is not None and status.check is not None and status.check(_IN_ERROR) is None


def _verification_system(resource_type: str) -> str | None:
    verification = _element(resource_type, "verificationStatus")
    if verification is None or verification.concept is None:
        return None
    return next(
        (system for system, codes in verification.concept.items() if _IN_ERROR in codes), None
    )
