"""Legacy ``patient_conditions`` become Condition: what a patient has or had.

The lookup table ``conditions`` is not migrated: its names and ICD-10 codes are in the concept map
``condition``. No clinical status is made up where the source has none, except that FHIR wants one
for an abated condition (con-4): without it, or against it, the row is quarantined.
"""

from typing import Any

from migration_assets.fhir.dates import date_time
from migration_assets.fhir.elements import resource
from migration_assets.fhir.identifiers import identifier
from migration_assets.fhir.reading import key_of, own_key
from migration_assets.fhir.references import optional_reference, reference
from migration_assets.mapping import Mapping, Quarantined, Resource, Row, Step
from migration_assets.terminology import code, concept, local_concept

STREAM = "patient_conditions"
ABATED = ("inactive", "remission", "resolved")


class PatientCondition(Row):
    """One entry of a patient's problem list."""

    patient_condition_id: str
    patient_id: str | None = None
    condition_id: str | None = None
    onset_date: str | None = None
    status: str | None = None
    resolved_date: str | None = None
    practitioner_id: str | None = None
    recorded_date: str | None = None


def condition(row: PatientCondition) -> Resource:
    """One row, one Condition."""
    abatement = date_time(row.resolved_date, "resolved_date")
    if abatement and code("condition_status", row.status, "status", required=True) not in ABATED:
        raise Quarantined("contradictory-status", "status")
    return resource(
        "Condition",
        STREAM,
        identifier=[identifier("Condition", row.patient_condition_id, "patient_condition_id")],
        clinicalStatus=concept("condition_status", row.status, "status", standard_required=True),
        code=concept("condition", row.condition_id, "condition_id", named=True, required=True),
        subject=reference("Patient", row.patient_id, "patient_id"),
        onsetDateTime=date_time(row.onset_date, "onset_date"),
        abatementDateTime=abatement,
        recordedDate=date_time(row.recorded_date, "recorded_date"),
        recorder=optional_reference("Practitioner", row.practitioner_id, "practitioner_id"),
    )


def fields(resource: Resource, row: dict[str, Any]) -> dict[str, Any]:
    """What a Condition says, as its row says it."""
    return {
        "patient_condition_id": own_key(resource),
        "patient_id": key_of(resource.get("subject"), "Patient", "Condition.subject"),
        "condition_id": local_concept(
            "condition", resource.get("code"), "Condition.code", now=row.get("condition_id")
        ),
        "onset_date": resource.get("onsetDateTime"),
        "status": local_concept(
            "condition_status",
            resource.get("clinicalStatus"),
            "Condition.clinicalStatus",
            now=row.get("status"),
        ),
        "resolved_date": resource.get("abatementDateTime"),
        "practitioner_id": key_of(resource.get("recorder"), "Practitioner", "Condition.recorder"),
        "recorded_date": resource.get("recordedDate"),
    }


MAPPING = Mapping(
    stream=STREAM,
    row=PatientCondition,
    resource_type="Condition",
    build=condition,
    reverse=fields,
    version="1.0.0",
    step=Step.SNAPSHOT,
    after=("Patient", "Practitioner"),
    examples=(
        {
            "patient_condition_id": "PC001",
            "patient_id": "P001",
            "condition_id": "HT001",
            "onset_date": "2022-03-15",
        },
        {
            "patient_condition_id": "PC004",
            "patient_id": "P003",
            "condition_id": "FT019",
            "onset_date": "1999",
            "status": "resolved",
            "resolved_date": "2001-06",
            "practitioner_id": "DR001",
            "recorded_date": "1999-08-20T10:30:00-05:00",
        },
    ),
    quarantined_examples=(
        (
            "missing-reference at patient_id",
            {"patient_condition_id": "PC005", "patient_id": None, "condition_id": "HT001"},
        ),
        (
            "unmapped-code at condition_id",
            {"patient_condition_id": "PC006", "patient_id": "P001", "condition_id": "ZZ999"},
        ),
        (
            "missing-code at condition_id",
            {"patient_condition_id": "PC007", "patient_id": "P001"},
        ),
        (
            "contradictory-status at status",
            {
                "patient_condition_id": "PC008",
                "patient_id": "P001",
                "condition_id": "HT001",
                "status": "active",
                "resolved_date": "2020-01-01",
            },
        ),
        (
            "missing-code at status",
            {
                "patient_condition_id": "PC009",
                "patient_id": "P001",
                "condition_id": "HT001",
                "resolved_date": "2020-01-01",
            },
        ),
    ),
)
