"""Legacy ``encounters`` become Encounter, with a ClinicalImpression where there is a note.

The two are written together or not at all, as in Medplum's guide. The note has no key of its own,
so the ClinicalImpression's is the encounter's, under its own system; the guide gives it none and
would write another one on every run. Its status is ``completed``, as in the guide, while the
encounter is under way ``in-progress``. The local type decides both ``class``, which FHIR requires,
and ``type``.
"""

from typing import Any

from migration_assets.fhir.dates import date_time
from migration_assets.fhir.elements import period, present, resource, several
from migration_assets.fhir.identifiers import identifier
from migration_assets.fhir.reading import at, first, key_of, own_key
from migration_assets.fhir.references import optional_reference, reference
from migration_assets.mapping import Mapping, Quarantined, Related, Resource, Row, Step
from migration_assets.terminology import code, coding, concept, local_code, local_concept

STREAM = "encounters"


class Encounter(Row):
    """One visit, call or stay."""

    encounter_id: str
    patient_id: str | None = None
    date: str | None = None
    end: str | None = None
    type: str | None = None
    status: str | None = None
    note: str | None = None
    practitioner_id: str | None = None
    organization_id: str | None = None


def encounter(row: Encounter) -> Resource | Related:
    """One row, one Encounter; with a note, a group of two."""
    start = date_time(row.date, "date")
    if start is None:
        raise Quarantined("missing-date", "date")
    visit = resource(
        "Encounter",
        STREAM,
        identifier=[identifier("Encounter", row.encounter_id, "encounter_id")],
        status=code("encounter_status", row.status, "status", required=True),
        class_=coding("encounter_class", row.type, "type", required=True),
        type=several(concept("encounter_type", row.type, "type")),
        subject=reference("Patient", row.patient_id, "patient_id"),
        participant=several(
            present(
                individual=optional_reference(
                    "Practitioner", row.practitioner_id, "practitioner_id"
                )
            )
        ),
        period=period(start, date_time(row.end, "end")),
        serviceProvider=optional_reference("Organization", row.organization_id, "organization_id"),
    )
    return Related((visit, _impression(row, start, str(visit["status"])))) if row.note else visit


def _impression(row: Encounter, start: str, status: str) -> Resource:
    return resource(
        "ClinicalImpression",
        STREAM,
        identifier=[identifier("ClinicalImpression", row.encounter_id, "encounter_id")],
        status="in-progress" if status == "in-progress" else "completed",
        subject=reference("Patient", row.patient_id, "patient_id"),
        encounter=reference("Encounter", row.encounter_id, "encounter_id"),
        effectiveDateTime=start,
        assessor=optional_reference("Practitioner", row.practitioner_id, "practitioner_id"),
        summary=row.note,
    )


def fields(resource: Resource, row: dict[str, Any]) -> dict[str, Any]:
    """What an Encounter says, as its row says it; of its ClinicalImpression, the note."""
    if resource["resourceType"] == "ClinicalImpression":
        return {"note": resource.get("summary")}
    individual, doctor = at(first(resource.get("participant")), "individual"), "participant[0]"
    place, kind = resource.get("serviceProvider"), first(resource.get("type"))
    status = resource.get("status")
    return {
        "encounter_id": own_key(resource),
        "patient_id": key_of(resource.get("subject"), "Patient", "Encounter.subject"),
        "date": at(resource, "period", "start"),
        "end": at(resource, "period", "end"),
        "type": local_concept("encounter_type", kind, "Encounter.type[0]", now=row.get("type")),
        "status": local_code("encounter_status", status, "Encounter.status", now=row.get("status")),
        "practitioner_id": key_of(individual, "Practitioner", f"Encounter.{doctor}.individual"),
        "organization_id": key_of(place, "Organization", "Encounter.serviceProvider"),
    }


MAPPING = Mapping(
    stream=STREAM,
    row=Encounter,
    resource_type="Encounter",
    build=encounter,
    reverse=fields,
    version="1.0.0",
    step=Step.HISTORY,
    after=("Patient", "Practitioner", "Organization"),
    related=("ClinicalImpression",),
    examples=(
        {
            "encounter_id": "E001",
            "patient_id": "P001",
            "date": "2023-06-15T00:00:00Z",
            "type": "checkup",
            "status": "finished",
            "note": "Routine check-up. Patient's hypertension is well-controlled. "
            "Diabetes management plan reviewed.",
        },
        {
            "encounter_id": "E003",
            "patient_id": "P003",
            "date": "2023-07-01",
            "end": "2023-07-04",
            "type": "inpatient",
            "status": "finished",
            "note": None,
            "practitioner_id": "DR001",
            "organization_id": "ORG001",
        },
        {
            "encounter_id": "E004",
            "patient_id": "P003",
            "date": "2023-10-30T14:00:00+01:00",
            "type": "telehealth",
            "status": "in-progress",
            "note": "Reports shortness of breath.",
            "practitioner_id": "DR001",
        },
    ),
    quarantined_examples=(
        (
            "unmapped-code at type",
            {
                "encounter_id": "E005",
                "patient_id": "P001",
                "date": "2023-06-15",
                "type": "séance",
                "status": "finished",
            },
        ),
        (
            "missing-code at type",
            {
                "encounter_id": "E006",
                "patient_id": "P001",
                "date": "2023-06-15",
                "status": "finished",
            },
        ),
        (
            "missing-date at date",
            {
                "encounter_id": "E007",
                "patient_id": "P001",
                "type": "checkup",
                "status": "finished",
            },
        ),
        (
            "missing-reference at patient_id",
            {
                "encounter_id": "E008",
                "date": "2023-06-15",
                "type": "checkup",
                "status": "finished",
            },
        ),
        (
            "zone-less-time at date",
            {
                "encounter_id": "E009",
                "patient_id": "P001",
                "date": "2023-06-15T09:00:00",
                "type": "checkup",
                "status": "finished",
            },
        ),
    ),
)
