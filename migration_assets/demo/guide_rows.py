"""The rows of the migration guide's own example, as the demo clinic serves them.

Belongs here: the four source tables of Medplum's guide "Building Migration Pipelines", row for row.
Does not belong here: anything invented. What the tables leave out and the guide's FHIR shows comes
from there: an encounter's time is the midnight of its date, its status is finished, its note is
the ClinicalImpression's summary.
"""

from typing import Any

GUIDE_ROWS: dict[str, tuple[dict[str, Any], ...]] = {
    "patients": (
        {
            "patient_id": "P001",
            "first_name": "John",
            "last_name": "Doe",
            "birth_date": "1980-07-15",
            "gender": "M",
        },
        {
            "patient_id": "P002",
            "first_name": "Jane",
            "last_name": "Smith",
            "birth_date": "1992-11-30",
            "gender": "F",
        },
    ),
    "conditions": (
        {"condition_id": "HT001", "condition_name": "Hypertension", "icd10_code": "I10"},
        {"condition_id": "DM002", "condition_name": "Diabetes", "icd10_code": "E11"},
    ),
    "patient_conditions": (
        {
            "patient_condition_id": "PC001",
            "patient_id": "P001",
            "condition_id": "HT001",
            "onset_date": "2022-03-15",
        },
        {
            "patient_condition_id": "PC002",
            "patient_id": "P001",
            "condition_id": "DM002",
            "onset_date": "2023-01-10",
        },
        {
            "patient_condition_id": "PC003",
            "patient_id": "P002",
            "condition_id": "HT001",
            "onset_date": "2023-02-22",
        },
    ),
    "encounters": (
        {
            "encounter_id": "E001",
            "patient_id": "P001",
            "date": "2023-06-15T00:00:00Z",
            "type": "checkup",
            "status": "finished",
            "note": (
                "Routine check-up. Patient's hypertension is well-controlled. "
                "Diabetes management plan reviewed."
            ),
        },
        {
            "encounter_id": "E002",
            "patient_id": "P002",
            "date": "2023-06-16T00:00:00Z",
            "type": "emergency",
            "status": "finished",
            "note": (
                "Emergency visit due to severe headache. Patient's hypertension may need "
                "adjustment. Further tests ordered."
            ),
        },
    ),
}

_KEYS = frozenset(
    next(iter(row.values())) for rows in GUIDE_ROWS.values() for row in rows
)  # the key is each row's first field


def is_guide_key(key: str) -> bool:
    """Whether a row is the guide's, and so must stay as it is."""
    return key in _KEYS
