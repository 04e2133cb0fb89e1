"""Legacy ``prescriptions`` become MedicationRequest.

``intent`` is always ``order``: the table holds what was prescribed, not plans or proposals. A
drug without a code passes on its text; the dose stays the prescriber's words and is not parsed.
"""

from typing import Any

from migration_assets.fhir.dates import date_time
from migration_assets.fhir.elements import present, resource, several
from migration_assets.fhir.identifiers import identifier
from migration_assets.fhir.reading import at, first, key_of, own_key
from migration_assets.fhir.references import optional_reference, reference
from migration_assets.mapping import Mapping, Resource, Row, Step
from migration_assets.terminology import code, concept, local_code, local_concept

STREAM = "prescriptions"


class Prescription(Row):
    """One drug prescribed to one patient."""

    prescription_id: str
    patient_id: str | None = None
    practitioner_id: str | None = None
    drug_code: str | None = None
    drug_text: str | None = None
    dose_text: str | None = None
    status: str | None = None
    prescribed_at: str | None = None
    reason_condition_id: str | None = None


def medication_request(row: Prescription) -> Resource:
    """One row, one MedicationRequest."""
    return resource(
        "MedicationRequest",
        STREAM,
        identifier=[identifier("MedicationRequest", row.prescription_id, "prescription_id")],
        status=code("prescription_status", row.status, "status", required=True),
        intent="order",
        medicationCodeableConcept=concept(
            "drug", row.drug_code, "drug_code", text=row.drug_text, named=True, required=True
        ),
        subject=reference("Patient", row.patient_id, "patient_id"),
        authoredOn=date_time(row.prescribed_at, "prescribed_at"),
        requester=optional_reference("Practitioner", row.practitioner_id, "practitioner_id"),
        reasonReference=several(
            optional_reference("Condition", row.reason_condition_id, "reason_condition_id")
        ),
        dosageInstruction=several(present(text=row.dose_text)),
    )


def fields(resource: Resource, row: dict[str, Any]) -> dict[str, Any]:
    """What a MedicationRequest says, as its row says it."""
    drug = resource.get("medicationCodeableConcept")
    why, path = first(resource.get("reasonReference")), "MedicationRequest."
    coded = at(drug, "coding")
    return {
        "prescription_id": own_key(resource),
        "patient_id": key_of(resource.get("subject"), "Patient", f"{path}subject"),
        "practitioner_id": key_of(resource.get("requester"), "Practitioner", f"{path}requester"),
        "drug_code": local_concept(
            "drug", drug, f"{path}medicationCodeableConcept", now=row.get("drug_code")
        )
        if coded
        else None,
        "drug_text": at(drug, "text"),
        "dose_text": at(first(resource.get("dosageInstruction")), "text"),
        "status": local_code(
            "prescription_status", resource.get("status"), f"{path}status", now=row.get("status")
        ),
        "prescribed_at": resource.get("authoredOn"),
        "reason_condition_id": key_of(why, "Condition", f"{path}reasonReference[0]"),
    }


MAPPING = Mapping(
    stream=STREAM,
    row=Prescription,
    resource_type="MedicationRequest",
    build=medication_request,
    reverse=fields,
    version="1.0.0",
    step=Step.SNAPSHOT,
    after=("Patient", "Practitioner", "Condition"),
    examples=(
        {
            "prescription_id": "RX001",
            "patient_id": "P001",
            "practitioner_id": "DR001",
            "drug_code": "LIS",
            "drug_text": "Lisinopril 10 mg tablet",
            "dose_text": "One tablet in the morning",
            "status": "active",
            "prescribed_at": "2022-03-15T09:20:00Z",
            "reason_condition_id": "PC001",
        },
        {
            "prescription_id": "RX002",
            "patient_id": "P003",
            "drug_code": "TEA17",
            "drug_text": "Sage tea",
            "status": "discontinued",
            "prescribed_at": "1998",
        },
        {
            "prescription_id": "RX003",
            "patient_id": "P003",
            "drug_code": "HERBAL",
            "status": "completed",
            "prescribed_at": None,
        },
    ),
    quarantined_examples=(
        (
            "unmapped-code at drug_code",
            {
                "prescription_id": "RX004",
                "patient_id": "P001",
                "drug_code": "TEA17",
                "status": "active",
            },
        ),
        (
            "unmapped-code at status",
            {
                "prescription_id": "RX005",
                "patient_id": "P001",
                "drug_code": "LIS",
                "status": "lost",
            },
        ),
        (
            "missing-code at status",
            {"prescription_id": "RX006", "patient_id": "P001", "drug_code": "LIS"},
        ),
        (
            "missing-reference at patient_id",
            {"prescription_id": "RX007", "drug_code": "LIS", "status": "active"},
        ),
    ),
)
