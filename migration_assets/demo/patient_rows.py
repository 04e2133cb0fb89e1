"""Rows of one patient: the person, conditions, prescriptions, encounters, observations, reports.

Belongs here: one function per stream, pure in the randomness it is given. Does not belong here: how
many there are and when they changed (``population``), or rows that are wrong on purpose
(``nasty_rows``). Times are milliseconds since 1970, UTC.
"""

from random import Random
from typing import Any

from migration_assets.demo.dice import chance, day, phone, second
from migration_assets.demo.invented_values import (
    CITIES,
    CONCLUSIONS,
    CONDITIONS,
    DIASTOLIC,
    DOSES,
    DRUGS,
    ENCOUNTER_STATUSES,
    ENCOUNTER_TYPES,
    FAMILY_NAMES,
    GIVEN_NAMES,
    LABS,
    NOTES,
    OBSERVATION_STATUSES,
    PRESCRIPTION_STATUSES,
    SMOKING,
    STREETS,
    SYSTOLIC,
    URINE_COLOURS,
    VITALS,
    Measure,
)

_DAY = 86_400_000
_MINUTE = 60_000
_BIRTH_DATE_PRECISIONS = (4, 7) + (10,) * 30
"""Characters of YYYY-MM-DD that are known."""

_FINDINGS = ("vital",) * 7 + ("pressure",) * 5 + ("lab",) * 3 + ("smoking",) * 3 + ("urine",) * 2

Row = dict[str, Any]


def patient(
    random: Random,
    key: str,
    at: int,
    *,
    organization_id: str | None = None,
    practitioner_id: str | None = None,
) -> Row:
    """A row of ``patients``."""
    city, state, postal_code = random.choice(CITIES)
    born = day(at - random.randrange(2 * 365, 95 * 365) * _DAY)
    dead = chance(random, 0.02)
    died = at - random.randrange(1, 300) * _DAY
    return {
        "patient_id": key,
        "first_name": random.choice(GIVEN_NAMES),
        "last_name": random.choice(FAMILY_NAMES),
        "birth_date": born[: random.choice(_BIRTH_DATE_PRECISIONS)],
        "gender": random.choice("OU" if chance(random, 0.03) else "FM"),
        "phone": phone(random) if chance(random, 0.8) else None,
        "email": f"{key.lower()}@people.example" if chance(random, 0.5) else None,
        "address_line": f"{random.randrange(1, 2_000)} {random.choice(STREETS)}",
        "city": city,
        "state": state,
        "postal_code": postal_code,
        "marital_code": random.choice("SMDW") if chance(random, 0.7) else None,
        "deceased_at": (day(died) if chance(random, 0.5) else second(died)) if dead else None,
        "organization_id": organization_id,
        "practitioner_id": practitioner_id,
        "active": not dead,
    }


def patient_condition(
    random: Random, key: str, patient_id: str, at: int, *, practitioner_id: str | None = None
) -> Row:
    """A row of ``patient_conditions``, recorded ``at``."""
    onset = at - random.randrange(2_000) * _DAY
    status = random.choice(("active", "active", "active", "resolved", "inactive", None))
    return {
        "patient_condition_id": key,
        "patient_id": patient_id,
        "condition_id": random.choice(CONDITIONS)[0],
        "onset_date": day(onset) if chance(random, 0.9) else None,
        "status": status,
        "resolved_date": day(at) if status == "resolved" else None,
        "practitioner_id": practitioner_id,
        "recorded_date": day(at),
    }


def prescription(
    random: Random,
    key: str,
    patient_id: str,
    at: int,
    *,
    practitioner_id: str | None = None,
    reason_condition_id: str | None = None,
) -> Row:
    """A row of ``prescriptions``, written ``at``."""
    code, text = random.choice(DRUGS)
    return {
        "prescription_id": key,
        "patient_id": patient_id,
        "practitioner_id": practitioner_id,
        "drug_code": code,
        "drug_text": text if chance(random, 0.7) else None,
        "dose_text": random.choice(DOSES),
        "status": random.choice(PRESCRIPTION_STATUSES),
        "prescribed_at": second(at),
        "reason_condition_id": reason_condition_id,
    }


def encounter(
    random: Random,
    key: str,
    patient_id: str,
    at: int,
    *,
    practitioner_id: str | None = None,
    organization_id: str | None = None,
) -> Row:
    """A row of ``encounters``, begun ``at``; six in ten have a note."""
    status = random.choice(ENCOUNTER_STATUSES)
    ended = status == "finished" and chance(random, 0.9)
    return {
        "encounter_id": key,
        "patient_id": patient_id,
        "date": second(at),
        "end": second(at + random.randrange(10, 90) * _MINUTE) if ended else None,
        "type": random.choice(ENCOUNTER_TYPES),
        "status": status,
        "note": random.choice(NOTES) if chance(random, 0.6) else None,
        "practitioner_id": practitioner_id,
        "organization_id": organization_id,
    }


def observation(
    random: Random,
    key: str,
    patient_id: str,
    at: int,
    *,
    encounter_id: str | None = None,
    practitioner_id: str | None = None,
    lab: str | None = None,
) -> Row:
    """A row of ``observations``: the named lab value, or any of the kinds there are."""
    return {
        "observation_id": key,
        "patient_id": patient_id,
        "encounter_id": encounter_id,
        "practitioner_id": practitioner_id,
        "observed_at": second(at),
        "status": random.choice(OBSERVATION_STATUSES),
        **_finding(random, lab),
    }


def diagnostic_report(
    random: Random,
    key: str,
    patient_id: str,
    at: int,
    *,
    code: str,
    observation_ids: list[str],
    encounter_id: str | None = None,
    practitioner_id: str | None = None,
) -> Row:
    """A row of ``diagnostic_reports`` over observations of the same patient."""
    return {
        "report_id": key,
        "patient_id": patient_id,
        "encounter_id": encounter_id,
        "practitioner_id": practitioner_id,
        "code": code,
        "status": "final",
        "observed_at": second(at),
        "issued_at": second(at + random.randrange(1, 600) * _MINUTE),
        "conclusion": random.choice(CONCLUSIONS),
        "observation_ids": observation_ids,
    }


def _finding(random: Random, lab: str | None) -> Row:
    kind = "lab" if lab else random.choice(_FINDINGS)
    if kind == "vital":
        code = random.choice(tuple(VITALS))
        return _numeric(random, "vital-signs", code, VITALS[code])
    if kind == "pressure":
        return {
            "category": "vital-signs",
            "code": "BP",
            "value_type": "panel",
            "components": [
                {"code": "SYS", "value": _value(random, SYSTOLIC), "unit": SYSTOLIC.unit},
                {"code": "DIA", "value": _value(random, DIASTOLIC), "unit": DIASTOLIC.unit},
            ],
        }
    if kind == "lab":
        code = lab or random.choice(tuple(LABS))
        return _numeric(random, "laboratory", code, LABS[code])
    if kind == "smoking":
        return {
            "category": "social-history",
            "code": "SMOKE",
            "value_type": "coded",
            "value": random.choice(SMOKING),
        }
    return {
        "category": "laboratory",
        "code": "URINE_COLOR",
        "value_type": "text",
        "value": random.choice(URINE_COLOURS),
    }


def _numeric(random: Random, category: str, code: str, measure: Measure) -> Row:
    value = _value(random, measure)
    flag = "L" if value < measure.normal_low else "H" if value > measure.normal_high else "N"
    return {
        "category": category,
        "code": code,
        "value_type": "numeric",
        "value": value,
        "unit": measure.unit,
        "abnormal_flag": flag,
    }


def _value(random: Random, measure: Measure) -> float:
    value = measure.low + random.random() * (measure.high - measure.low)
    return round(value, measure.decimals) if measure.decimals else round(value)
