"""Legacy ``practitioner_roles`` become PractitionerRole: who works where, as what, since when.

A role without its practitioner or organization says nothing, so it is quarantined. A laboratory
technician has no code in HL7's list: the local coding stands alone.
"""

from typing import Any

from pydantic import StrictBool

from migration_assets.fhir.dates import date_time
from migration_assets.fhir.elements import period, resource, several
from migration_assets.fhir.identifiers import identifier
from migration_assets.fhir.reading import at, first, key_of, own_key
from migration_assets.fhir.references import reference
from migration_assets.mapping import Mapping, Resource, Row, Step
from migration_assets.terminology import concept, local_concept

STREAM = "practitioner_roles"


class PractitionerRole(Row):
    """One job of one practitioner at one organization."""

    role_id: str
    practitioner_id: str | None = None
    organization_id: str | None = None
    role_code: str | None = None
    start_date: str | None = None
    end_date: str | None = None
    active: StrictBool | None = None


def practitioner_role(row: PractitionerRole) -> Resource:
    """One row, one PractitionerRole."""
    return resource(
        "PractitionerRole",
        STREAM,
        identifier=[identifier("PractitionerRole", row.role_id, "role_id")],
        active=row.active,
        period=period(date_time(row.start_date, "start_date"), date_time(row.end_date, "end_date")),
        practitioner=reference("Practitioner", row.practitioner_id, "practitioner_id"),
        organization=reference("Organization", row.organization_id, "organization_id"),
        code=several(concept("role_code", row.role_code, "role_code", named=True)),
    )


def fields(resource: Resource, row: dict[str, Any]) -> dict[str, Any]:
    """What a PractitionerRole says, as its row says it."""
    path, place = "PractitionerRole.", resource.get("organization")
    return {
        "role_id": own_key(resource),
        "practitioner_id": key_of(
            resource.get("practitioner"), "Practitioner", f"{path}practitioner"
        ),
        "organization_id": key_of(place, "Organization", f"{path}organization"),
        "role_code": local_concept(
            "role_code", first(resource.get("code")), f"{path}code[0]", now=row.get("role_code")
        ),
        "start_date": at(resource, "period", "start"),
        "end_date": at(resource, "period", "end"),
        "active": resource.get("active"),
    }


MAPPING = Mapping(
    stream=STREAM,
    row=PractitionerRole,
    resource_type="PractitionerRole",
    build=practitioner_role,
    reverse=fields,
    version="1.0.0",
    step=Step.PROVIDERS,
    after=("Practitioner", "Organization"),
    examples=(
        {
            "role_id": "ROLE001",
            "practitioner_id": "DR001",
            "organization_id": "ORG001",
            "role_code": "cardio",
            "start_date": "2019-04",
            "active": True,
        },
        {
            "role_id": "ROLE002",
            "practitioner_id": "DR002",
            "organization_id": "ORG002",
            "role_code": "labtech",
            "start_date": "2015-01-01",
            "end_date": "2021-12-31",
            "active": False,
        },
    ),
    quarantined_examples=(
        (
            "missing-reference at practitioner_id",
            {"role_id": "ROLE003", "practitioner_id": None, "organization_id": "ORG001"},
        ),
        (
            "unmapped-code at role_code",
            {
                "role_id": "ROLE004",
                "practitioner_id": "DR001",
                "organization_id": "ORG001",
                "role_code": "shaman",
            },
        ),
        (
            "impossible-date at end_date",
            {
                "role_id": "ROLE005",
                "practitioner_id": "DR001",
                "organization_id": "ORG001",
                "end_date": "2021-02-30",
            },
        ),
    ),
)
