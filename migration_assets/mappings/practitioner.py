"""Legacy ``practitioners`` become Practitioner.

The NPI is kept beside the source's own key: it is how other systems know the clinician. What a
clinician does, and where, is in ``practitioner_roles``.
"""

from typing import Any

from pydantic import StrictBool

from migration_assets.fhir.elements import contact_point, human_name, resource, several
from migration_assets.fhir.identifiers import checked_key, identifier
from migration_assets.fhir.reading import at, contact, first, identifier_of, own_key
from migration_assets.mapping import Mapping, Resource, Row, Step
from migration_assets.terminology import code, local_code

STREAM = "practitioners"
NPI = "http://hl7.org/fhir/sid/us-npi"


class Practitioner(Row):
    """A clinician or other member of staff."""

    practitioner_id: str
    npi: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    gender: str | None = None
    phone: str | None = None
    email: str | None = None
    active: StrictBool | None = None


def practitioner(row: Practitioner) -> Resource:
    """One row, one Practitioner."""
    npi = {"system": NPI, "value": checked_key(row.npi, "npi")} if row.npi else None
    return resource(
        "Practitioner",
        STREAM,
        identifier=several(identifier("Practitioner", row.practitioner_id, "practitioner_id"), npi),
        active=row.active,
        name=several(human_name(row.last_name, [row.first_name])),
        telecom=several(contact_point("phone", row.phone), contact_point("email", row.email)),
        gender=code("gender", row.gender, "gender"),
    )


def fields(resource: Resource, row: dict[str, Any]) -> dict[str, Any]:
    """What a Practitioner says, as its row says it."""
    name = first(resource.get("name"))
    return {
        "practitioner_id": own_key(resource),
        "npi": identifier_of(resource, NPI),
        "first_name": first(at(name, "given")) or None,
        "last_name": at(name, "family"),
        "gender": local_code(
            "gender", resource.get("gender"), "Practitioner.gender", now=row.get("gender")
        ),
        "phone": contact(resource, "phone"),
        "email": contact(resource, "email"),
        "active": resource.get("active"),
    }


MAPPING = Mapping(
    stream=STREAM,
    row=Practitioner,
    resource_type="Practitioner",
    build=practitioner,
    reverse=fields,
    version="1.0.0",
    step=Step.PROVIDERS,
    examples=(
        {
            "practitioner_id": "DR001",
            "npi": "1234567893",
            "first_name": "Ada",
            "last_name": "Lindqvist",
            "gender": "F",
            "phone": "+1 555 0100",
            "email": "ada.lindqvist@clinic.example",
            "active": True,
        },
        {
            "practitioner_id": "DR002",
            "npi": None,
            "first_name": "José",
            "last_name": "Nuñez",
            "gender": None,
            "active": False,
        },
    ),
    quarantined_examples=(
        (
            "unmapped-code at gender",
            {"practitioner_id": "DR003", "last_name": "Gray", "gender": "X", "active": True},
        ),
        (
            "identifier-padded at npi",
            {"practitioner_id": "DR004", "npi": "1234567893 ", "last_name": "Gray"},
        ),
    ),
)
