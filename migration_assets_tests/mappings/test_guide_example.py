"""The end-to-end example of Medplum's migration guide, resource for resource.

Where the guide cannot work on a real server, the contract wins: its ``urn:uuid:encounter-e001``
are not UUIDs and would be stored unresolved (§5), so members of a group refer to each other by
identifier and the deliverer numbers them; and its ClinicalImpression has no identifier, so every
run would add another: ours has one. ``meta.source`` is ours too.
"""

from typing import Any

import pytest

from migration_assets.fhir.validation import problems
from migration_assets.mapping import Related, Resource
from migration_assets.mappings import discover

_FOUND = discover()
_BASE = "http://your-source-system.com"

PATIENTS = (
    (
        {
            "patient_id": "P001",
            "first_name": "John",
            "last_name": "Doe",
            "birth_date": "1980-07-15",
            "gender": "M",
        },
        {
            "resourceType": "Patient",
            "identifier": [{"system": f"{_BASE}/patientId", "value": "P001"}],
            "name": [{"given": ["John"], "family": "Doe"}],
            "birthDate": "1980-07-15",
            "gender": "male",
        },
    ),
    (
        {
            "patient_id": "P002",
            "first_name": "Jane",
            "last_name": "Smith",
            "birth_date": "1992-11-30",
            "gender": "F",
        },
        {
            "resourceType": "Patient",
            "identifier": [{"system": f"{_BASE}/patientId", "value": "P002"}],
            "name": [{"given": ["Jane"], "family": "Smith"}],
            "birthDate": "1992-11-30",
            "gender": "female",
        },
    ),
)

HYPERTENSION = {
    "coding": [
        {"system": f"{_BASE}/conditionId", "code": "HT001", "display": "Hypertension"},
        {
            "system": "http://hl7.org/fhir/sid/icd-10",
            "code": "I10",
            "display": "Essential (primary) hypertension",
        },
    ],
    "text": "Hypertension",
}
DIABETES = {
    "coding": [
        {"system": f"{_BASE}/conditionId", "code": "DM002", "display": "Diabetes"},
        {
            "system": "http://hl7.org/fhir/sid/icd-10",
            "code": "E11",
            "display": "Type 2 diabetes mellitus",
        },
    ],
    "text": "Diabetes",
}

CONDITIONS = (
    ("PC001", "P001", "HT001", "2022-03-15", HYPERTENSION),
    ("PC002", "P001", "DM002", "2023-01-10", DIABETES),
    ("PC003", "P002", "HT001", "2023-02-22", HYPERTENSION),
)

ENCOUNTERS = (
    (
        "E001",
        "P001",
        "2023-06-15T00:00:00Z",
        ("checkup", "Check-up"),
        ("AMB", "ambulatory"),
        (
            "Routine check-up. Patient's hypertension is well-controlled. "
            "Diabetes management plan reviewed."
        ),
    ),
    (
        "E002",
        "P002",
        "2023-06-16T00:00:00Z",
        ("emergency", "Emergency"),
        ("EMER", "emergency"),
        (
            "Emergency visit due to severe headache. Patient's hypertension may need adjustment. "
            "Further tests ordered."
        ),
    ),
)


def _mapped(kind: str, row: dict[str, Any]) -> tuple[Resource, ...]:
    """What a row becomes, without the one thing the guide does not show: ``meta.source``."""
    mapping = _FOUND[kind]
    built = mapping.build(mapping.row.model_validate({**row, "updated_at": "2024-01-01T00:00:00Z"}))
    resources = built.resources if isinstance(built, Related) else (built,)
    for each in resources:
        assert isinstance(each, dict)
        assert problems(each) == ()
        del each["meta"]
    return resources  # type: ignore[return-value] # the assertion above: none is a Skip


@pytest.mark.parametrize(("row", "expected"), PATIENTS, ids=["P001", "P002"])
def test_the_guides_patients(row: dict[str, Any], expected: Resource) -> None:
    assert _mapped("Patient", row) == (expected,)


@pytest.mark.parametrize(("key", "patient", "code", "onset", "concept"), CONDITIONS)
def test_the_guides_conditions(
    key: str, patient: str, code: str, onset: str, concept: dict[str, Any]
) -> None:
    row = {
        "patient_condition_id": key,
        "patient_id": patient,
        "condition_id": code,
        "onset_date": onset,
    }
    assert _mapped("Condition", row) == (
        {
            "resourceType": "Condition",
            "identifier": [{"system": f"{_BASE}/patientConditionId", "value": key}],
            "subject": {"reference": f"Patient?identifier={_BASE}/patientId|{patient}"},
            "code": concept,
            "onsetDateTime": onset,
        },
    )


@pytest.mark.parametrize(("key", "patient", "start", "kind", "act", "note"), ENCOUNTERS)
def test_the_guides_encounters_with_their_notes(
    key: str, patient: str, start: str, kind: tuple[str, str], act: tuple[str, str], note: str
) -> None:
    row = {
        "encounter_id": key,
        "patient_id": patient,
        "date": start,
        "type": kind[0],
        "status": "finished",
        "note": note,
    }
    subject = {"reference": f"Patient?identifier={_BASE}/patientId|{patient}"}
    assert _mapped("Encounter", row) == (
        {
            "resourceType": "Encounter",
            "identifier": [{"system": f"{_BASE}/encounterId", "value": key}],
            "status": "finished",
            "class": {
                "system": "http://terminology.hl7.org/CodeSystem/v3-ActCode",
                "code": act[0],
                "display": act[1],
            },
            "subject": subject,
            "period": {"start": start},
            "type": [
                {
                    "coding": [
                        {
                            "system": f"{_BASE}/encounterTypeId",
                            "code": kind[0],
                            "display": kind[1],
                        }
                    ]
                }
            ],
        },
        {
            "resourceType": "ClinicalImpression",
            "identifier": [{"system": f"{_BASE}/clinicalImpressionId", "value": key}],
            "status": "completed",
            "subject": subject,
            "encounter": {"reference": f"Encounter?identifier={_BASE}/encounterId|{key}"},
            "effectiveDateTime": start,
            "summary": note,
        },
    )
