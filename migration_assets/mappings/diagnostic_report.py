"""Legacy ``diagnostic_reports`` become DiagnosticReport, with references to their Observations.

``performer`` is the practitioner of the row: the legacy table does not know the laboratory.
"""

from typing import Any

from migration_assets.fhir.dates import date_time, instant
from migration_assets.fhir.elements import resource, several
from migration_assets.fhir.identifiers import identifier
from migration_assets.fhir.reading import first, key_of, own_key
from migration_assets.fhir.references import optional_reference, reference
from migration_assets.mapping import Mapping, Resource, Row, Step
from migration_assets.terminology import code, concept, local_code, local_concept

STREAM = "diagnostic_reports"


class DiagnosticReport(Row):
    """One report on a set of results."""

    report_id: str
    patient_id: str | None = None
    encounter_id: str | None = None
    practitioner_id: str | None = None
    code: str | None = None
    status: str | None = None
    observed_at: str | None = None
    issued_at: str | None = None
    conclusion: str | None = None
    observation_ids: tuple[str | None, ...] | None = None


def diagnostic_report(row: DiagnosticReport) -> Resource:
    """One row, one DiagnosticReport."""
    return resource(
        "DiagnosticReport",
        STREAM,
        identifier=[identifier("DiagnosticReport", row.report_id, "report_id")],
        status=code("report_status", row.status, "status", required=True),
        code=concept("report_code", row.code, "code", named=True, required=True),
        subject=reference("Patient", row.patient_id, "patient_id"),
        encounter=optional_reference("Encounter", row.encounter_id, "encounter_id"),
        effectiveDateTime=date_time(row.observed_at, "observed_at"),
        issued=instant(row.issued_at, "issued_at"),
        performer=several(
            optional_reference("Practitioner", row.practitioner_id, "practitioner_id")
        ),
        result=[
            reference("Observation", key, f"observation_ids[{index}]")
            for index, key in enumerate(row.observation_ids or ())
        ],
        conclusion=row.conclusion,
    )


def fields(resource: Resource, row: dict[str, Any]) -> dict[str, Any]:
    """What a DiagnosticReport says, as its row says it."""
    path, doctor = "DiagnosticReport.", first(resource.get("performer"))
    return {
        "report_id": own_key(resource),
        "patient_id": key_of(resource.get("subject"), "Patient", f"{path}subject"),
        "encounter_id": key_of(resource.get("encounter"), "Encounter", f"{path}encounter"),
        "practitioner_id": key_of(doctor, "Practitioner", f"{path}performer[0]"),
        "code": local_concept(
            "report_code", resource.get("code"), f"{path}code", now=row.get("code")
        ),
        "status": local_code(
            "report_status", resource.get("status"), f"{path}status", now=row.get("status")
        ),
        "observed_at": resource.get("effectiveDateTime"),
        "issued_at": resource.get("issued"),
        "conclusion": resource.get("conclusion"),
        "observation_ids": [
            key_of(each, "Observation", f"{path}result[{index}]")
            for index, each in enumerate(resource.get("result") or ())
        ],
    }


def _row(report_id: str, **fields: Any) -> dict[str, Any]:
    """An invented row: a final blood count of P001, but for ``fields``."""
    return {
        "report_id": report_id,
        "patient_id": "P001",
        "code": "CBC",
        "status": "final",
        "observed_at": "2023-06-15T00:10:00Z",
        **fields,
    }


MAPPING = Mapping(
    stream=STREAM,
    row=DiagnosticReport,
    resource_type="DiagnosticReport",
    build=diagnostic_report,
    reverse=fields,
    version="1.0.0",
    step=Step.HISTORY,
    after=("Patient", "Encounter", "Practitioner", "Observation"),
    examples=(
        _row(
            "REP001",
            encounter_id="E001",
            practitioner_id="DR001",
            issued_at="2023-06-16T08:00:00.250Z",
            conclusion="Within normal limits.",
            observation_ids=["OBS003", "OBS005"],
        ),
        _row("REP002", code="LIPID", status="preliminary", observation_ids=[]),
    ),
    quarantined_examples=(
        ("unmapped-code at code", _row("REP003", code="TAROT")),
        ("unmapped-code at status", _row("REP004", status="probable")),
        ("missing-reference at patient_id", _row("REP005", patient_id="")),
        (
            "missing-reference at observation_ids[1]",
            _row("REP006", observation_ids=["OBS003", None]),
        ),
        ("time-missing at issued_at", _row("REP007", issued_at="2023-06-16")),
    ),
)
