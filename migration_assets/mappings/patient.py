"""Legacy ``patients`` become Patient.

Birth and death keep the precision they were recorded with. Gender is optional in FHIR: null is
left out, but a code that nobody mapped is quarantined rather than called ``unknown``, which is an
answer of its own.
"""

from typing import Any

from pydantic import StrictBool

from migration_assets.fhir.dates import date, date_time
from migration_assets.fhir.elements import address, contact_point, human_name, resource, several
from migration_assets.fhir.identifiers import identifier
from migration_assets.fhir.reading import at, contact, first, key_of, own_key
from migration_assets.fhir.references import optional_reference
from migration_assets.mapping import Mapping, Resource, Row, Step
from migration_assets.terminology import code, concept, local_code, local_concept

STREAM = "patients"


class Patient(Row):
    """A person who is or was in care."""

    patient_id: str
    first_name: str | None = None
    last_name: str | None = None
    birth_date: str | None = None
    gender: str | None = None
    phone: str | None = None
    email: str | None = None
    address_line: str | None = None
    city: str | None = None
    state: str | None = None
    postal_code: str | None = None
    marital_code: str | None = None
    deceased_at: str | None = None
    organization_id: str | None = None
    practitioner_id: str | None = None
    active: StrictBool | None = None


def patient(row: Patient) -> Resource:
    """One row, one Patient."""
    return resource(
        "Patient",
        STREAM,
        identifier=[identifier("Patient", row.patient_id, "patient_id")],
        active=row.active,
        name=several(human_name(row.last_name, [row.first_name])),
        telecom=several(contact_point("phone", row.phone), contact_point("email", row.email)),
        gender=code("gender", row.gender, "gender"),
        birthDate=date(row.birth_date, "birth_date"),
        deceasedDateTime=date_time(row.deceased_at, "deceased_at"),
        address=several(
            address(
                line=row.address_line,
                city=row.city,
                state=row.state,
                postal_code=row.postal_code,
            )
        ),
        maritalStatus=concept("marital_status", row.marital_code, "marital_code"),
        generalPractitioner=several(
            optional_reference("Practitioner", row.practitioner_id, "practitioner_id")
        ),
        managingOrganization=optional_reference(
            "Organization", row.organization_id, "organization_id"
        ),
    )


def fields(resource: Resource, row: dict[str, Any]) -> dict[str, Any]:
    """What a Patient says, as its row says it."""
    name, home = first(resource.get("name")), first(resource.get("address"))
    doctor, place = first(resource.get("generalPractitioner")), resource.get("managingOrganization")
    return {
        "patient_id": own_key(resource),
        "first_name": first(at(name, "given")) or None,
        "last_name": at(name, "family"),
        "birth_date": resource.get("birthDate"),
        "gender": local_code(
            "gender", resource.get("gender"), "Patient.gender", now=row.get("gender")
        ),
        "phone": contact(resource, "phone"),
        "email": contact(resource, "email"),
        "address_line": first(at(home, "line")) or None,
        "city": at(home, "city"),
        "state": at(home, "state"),
        "postal_code": at(home, "postalCode"),
        "marital_code": local_concept(
            "marital_status",
            resource.get("maritalStatus"),
            "Patient.maritalStatus",
            now=row.get("marital_code"),
        ),
        "deceased_at": resource.get("deceasedDateTime"),
        "organization_id": key_of(place, "Organization", "Patient.managingOrganization"),
        "practitioner_id": key_of(doctor, "Practitioner", "Patient.generalPractitioner[0]"),
        "active": resource.get("active"),
    }


MAPPING = Mapping(
    stream=STREAM,
    row=Patient,
    resource_type="Patient",
    build=patient,
    reverse=fields,
    version="1.0.0",
    step=Step.PATIENTS,
    after=("Organization", "Practitioner"),
    examples=(
        {
            "patient_id": "P001",
            "first_name": "John",
            "last_name": "Doe",
            "birth_date": "1980-07-15",
            "gender": "M",
        },
        {
            "patient_id": "P003",
            "first_name": "Zoë",
            "last_name": "Østergård",
            "birth_date": "1931-05",
            "gender": "F",
            "phone": "+1 555 0120",
            "email": "zoe@mail.example",
            "address_line": "7 Hill Street",
            "city": "Springfield",
            "state": "IL",
            "postal_code": "62702",
            "marital_code": "W",
            "deceased_at": "2023-11-02T04:15:00Z",
            "organization_id": "ORG001",
            "practitioner_id": "DR001",
            "active": False,
        },
        {"patient_id": "P004", "first_name": None, "last_name": "Unknown", "birth_date": None},
    ),
    quarantined_examples=(
        ("unmapped-code at gender", {"patient_id": "P005", "last_name": "Roe", "gender": "9"}),
        (
            "impossible-date at birth_date",
            {"patient_id": "P006", "last_name": "Roe", "birth_date": "0000-00-00"},
        ),
        (
            "unreadable-date at birth_date",
            {"patient_id": "P007", "last_name": "Roe", "birth_date": "07/15/1980"},
        ),
        (
            "zone-less-time at deceased_at",
            {"patient_id": "P008", "last_name": "Roe", "deceased_at": "2023-11-02T04:15:00"},
        ),
        ("identifier-padded at patient_id", {"patient_id": " P009", "last_name": "Roe"}),
    ),
)
