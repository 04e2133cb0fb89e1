"""Legacy ``organizations`` become Organization: practices, hospitals, laboratories, departments.

A department refers to its parent in the same stream; rows may come in any order, so a child may
have to wait for its parent.
"""

from typing import Any

from migration_assets.fhir.elements import address, contact_point, resource, several
from migration_assets.fhir.identifiers import identifier
from migration_assets.fhir.reading import at, contact, first, key_of, own_key
from migration_assets.fhir.references import optional_reference
from migration_assets.mapping import Mapping, Resource, Row, Step
from migration_assets.terminology import concept, local_concept

STREAM = "organizations"


class Organization(Row):
    """A place that gives care, or a part of one."""

    organization_id: str
    name: str | None = None
    type_code: str | None = None
    phone: str | None = None
    address_line: str | None = None
    city: str | None = None
    state: str | None = None
    postal_code: str | None = None
    parent_id: str | None = None


def organization(row: Organization) -> Resource:
    """One row, one Organization."""
    return resource(
        "Organization",
        STREAM,
        identifier=[identifier("Organization", row.organization_id, "organization_id")],
        type=several(concept("organization_type", row.type_code, "type_code")),
        name=row.name,
        telecom=several(contact_point("phone", row.phone)),
        address=several(
            address(
                line=row.address_line,
                city=row.city,
                state=row.state,
                postal_code=row.postal_code,
            )
        ),
        partOf=optional_reference("Organization", row.parent_id, "parent_id"),
    )


def fields(resource: Resource, row: dict[str, Any]) -> dict[str, Any]:
    """What an Organization says, as its row says it."""
    home = first(resource.get("address"))
    return {
        "organization_id": own_key(resource),
        "name": resource.get("name"),
        "type_code": local_concept(
            "organization_type",
            first(resource.get("type")),
            "Organization.type[0]",
            now=row.get("type_code"),
        ),
        "phone": contact(resource, "phone"),
        "address_line": first(at(home, "line")) or None,
        "city": at(home, "city"),
        "state": at(home, "state"),
        "postal_code": at(home, "postalCode"),
        "parent_id": key_of(resource.get("partOf"), "Organization", "Organization.partOf"),
    }


MAPPING = Mapping(
    stream=STREAM,
    row=Organization,
    resource_type="Organization",
    build=organization,
    reverse=fields,
    version="1.0.0",
    step=Step.ORGANIZATIONS,
    examples=(
        {
            "organization_id": "ORG001",
            "name": "Lakeside Clinic",
            "type_code": "clinic",
            "phone": "+1 555 0110",
            "address_line": "1 Shore Road",
            "city": "Springfield",
            "state": "IL",
            "postal_code": "62701",
            "parent_id": None,
        },
        {
            "organization_id": "ORG002",
            "name": "Lakeside Laboratory",
            "type_code": "lab",
            "parent_id": "ORG001",
        },
    ),
    quarantined_examples=(
        (
            "unmapped-code at type_code",
            {"organization_id": "ORG003", "name": "Annex", "type_code": "annex"},
        ),
        (
            "identifier-padded at parent_id",
            {"organization_id": "ORG004", "name": "Ward 4", "parent_id": " ORG001"},
        ),
    ),
)
