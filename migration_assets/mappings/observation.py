"""Legacy ``observations`` become Observation: vital signs, laboratory values, answers.

A number keeps the digits the source has, with the local unit as ``unit`` and its UCUM code; a
unit that nobody mapped is quarantined, an absent one stays absent. ``<5`` is a number with a
comparator. A panel (blood pressure) has its values in ``component``. A row without a value is
kept: that something was asked for or cancelled is a fact too.
"""

import re
from typing import Any, Final

from migration_assets.fhir.dates import date_time
from migration_assets.fhir.elements import Element, number, present, quantity, resource, several
from migration_assets.fhir.identifiers import identifier
from migration_assets.fhir.reading import at, first, key_of, own_key
from migration_assets.fhir.references import optional_reference, reference
from migration_assets.mapping import Mapping, Quarantined, Resource, Row, Step
from migration_assets.terminology import code, concept, local_code, local_concept

STREAM = "observations"
_COMPARED: Final = re.compile(r"(<=|>=|<|>)\s*(\S+)")


class Component(Row):
    """One value of a panel."""

    code: str | None = None
    value: Any = None
    unit: str | None = None


class Observation(Row):
    """One measurement, result or answer."""

    observation_id: str
    patient_id: str | None = None
    encounter_id: str | None = None
    practitioner_id: str | None = None
    category: str | None = None
    code: str | None = None
    observed_at: str | None = None
    status: str | None = None
    value_type: str | None = None
    value: Any = None
    unit: str | None = None
    components: tuple[Component, ...] | None = None
    abnormal_flag: str | None = None


def observation(row: Observation) -> Resource:
    """One row, one Observation."""
    return resource(
        "Observation",
        STREAM,
        identifier=[identifier("Observation", row.observation_id, "observation_id")],
        status=code("observation_status", row.status, "status", required=True),
        category=several(concept("observation_category", row.category, "category")),
        code=concept("observation_code", row.code, "code", named=True, required=True),
        subject=reference("Patient", row.patient_id, "patient_id"),
        encounter=optional_reference("Encounter", row.encounter_id, "encounter_id"),
        effectiveDateTime=date_time(row.observed_at, "observed_at"),
        performer=several(
            optional_reference("Practitioner", row.practitioner_id, "practitioner_id")
        ),
        interpretation=several(concept("abnormal_flag", row.abnormal_flag, "abnormal_flag")),
        **_value(row),
    )


def _value(row: Observation) -> Element:
    if row.value_type == "panel":
        if not row.components:
            raise Quarantined("missing-components", "components")
        return {"component": [_component(*each) for each in enumerate(row.components)]}
    if row.components:
        raise Quarantined("contradictory-value-type", "value_type")
    if row.value is None or row.value == "":
        return {}
    if row.value_type == "numeric":
        return {"valueQuantity": _measured(row.value, row.unit)}
    if row.value_type not in ("coded", "text"):
        raise Quarantined("unknown-value-type", "value_type")
    if not isinstance(row.value, str):
        raise Quarantined("not-a-text", "value")
    if row.value_type == "text":
        return {"valueString": row.value}
    return {"valueCodeableConcept": concept("coded_answer", row.value, "value", named=True)}


def _component(index: int, part: Component) -> Element:
    place = f"components[{index}]."
    absent = part.value is None or part.value == ""
    return present(
        code=concept("observation_code", part.code, f"{place}code", named=True, required=True),
        valueQuantity=None if absent else _measured(part.value, part.unit, place),
    )


def _measured(value: Any, unit: str | None, place: str = "") -> Element:
    compared = _COMPARED.fullmatch(value) if isinstance(value, str) else None
    return quantity(
        number(compared[2] if compared else value, f"{place}value"),
        comparator=compared[1] if compared else None,
        unit=unit,
        code=code("unit", unit, f"{place}unit"),
    )


def fields(resource: Resource, row: dict[str, Any]) -> dict[str, Any]:
    """What an Observation says, as its row says it."""

    def own(map_name: str, element: Any, path: str, field: str) -> str | None:
        return local_concept(map_name, element, f"Observation.{path}", now=row.get(field))

    doctor = first(resource.get("performer"))
    category, flag = first(resource.get("category")), first(resource.get("interpretation"))
    return {
        "observation_id": own_key(resource),
        "patient_id": key_of(resource.get("subject"), "Patient", "Observation.subject"),
        "encounter_id": key_of(resource.get("encounter"), "Encounter", "Observation.encounter"),
        "practitioner_id": key_of(doctor, "Practitioner", "Observation.performer[0]"),
        "category": own("observation_category", category, "category[0]", "category"),
        "code": own("observation_code", resource.get("code"), "code", "code"),
        "observed_at": resource.get("effectiveDateTime"),
        "status": local_code(
            "observation_status",
            resource.get("status"),
            "Observation.status",
            now=row.get("status"),
        ),
        "abnormal_flag": own("abnormal_flag", flag, "interpretation[0]", "abnormal_flag"),
        **_told(resource, row),
    }


def _told(resource: Resource, row: dict[str, Any]) -> dict[str, Any]:
    """The fields of a value; of a row without one it stays what it is said to be a value of."""
    if parts := resource.get("component"):
        return {"value_type": "panel", "components": [_part(*each) for each in enumerate(parts)]}
    none: dict[str, Any] = {"value": None, "unit": None, "components": None}
    if "valueQuantity" in resource:
        return {**none, "value_type": "numeric", **_number(resource["valueQuantity"])}
    if "valueString" in resource:
        return {**none, "value_type": "text", "value": resource["valueString"]}
    if (coded := resource.get("valueCodeableConcept")) is not None:
        now = row.get("value")
        answer = local_concept("coded_answer", coded, "Observation.valueCodeableConcept", now=now)
        return {**none, "value_type": "coded", "value": answer}
    kept = None if row.get("value_type") == "panel" else row.get("value_type")
    return {**none, "unit": row.get("unit"), "value_type": kept}


def _number(element: Element) -> dict[str, Any]:
    value, comparator = element.get("value"), element.get("comparator")
    return {"value": f"{comparator}{value}" if comparator else value, "unit": element.get("unit")}


def _part(index: int, part: Element) -> dict[str, Any]:
    path = f"Observation.component[{index}].code"
    told = _number(part["valueQuantity"]) if "valueQuantity" in part else {}
    return {"code": local_concept("observation_code", at(part, "code"), path), **told}


def _row(observation_id: str, **fields: Any) -> dict[str, Any]:
    """An invented row: a final vital sign of P001, but for ``fields``."""
    return {
        "observation_id": observation_id,
        "patient_id": "P001",
        "category": "vital-signs",
        "code": "HT",
        "observed_at": "2023-06-15T00:05:00Z",
        "status": "final",
        **fields,
    }


MAPPING = Mapping(
    stream=STREAM,
    row=Observation,
    resource_type="Observation",
    build=observation,
    reverse=fields,
    version="1.0.0",
    step=Step.HISTORY,
    after=("Patient", "Encounter", "Practitioner"),
    examples=(
        _row("OBS001", encounter_id="E001", value_type="numeric", value=178.5, unit="cm"),
        _row(
            "OBS002",
            encounter_id="E001",
            practitioner_id="DR001",
            code="BP",
            value_type="panel",
            components=[
                {"code": "SYS", "value": 128, "unit": "mmHg"},
                {"code": "DIA", "value": 82, "unit": "mmHg"},
            ],
        ),
        _row(
            "OBS003",
            category="laboratory",
            code="HBA1C",
            value_type="numeric",
            value="<4.0",
            unit="%",
            abnormal_flag="L",
        ),
        _row("OBS004", category="social-history", code="SMOKE", value_type="coded", value="former"),
        _row(
            "OBS005",
            category="laboratory",
            code="URINE_COLOR",
            value_type="text",
            value="straw yellow",
            status="corrected",
        ),
        _row("OBS006", code="WT", status="cancelled", value_type="numeric", value=None),
    ),
    quarantined_examples=(
        (
            "not-a-number at value",
            _row("OBS007", value_type="numeric", value="n/a", unit="cm"),
        ),
        (
            "unmapped-code at unit",
            _row("OBS008", value_type="numeric", value=1, unit="furlong"),
        ),
        ("unmapped-code at code", _row("OBS009", code="AURA", value_type="text", value="blue")),
        ("unmapped-code at value", _row("OBS010", value_type="coded", value="maybe")),
        (
            "not-a-number at components[1].value",
            _row(
                "OBS011",
                code="BP",
                value_type="panel",
                components=[{"code": "SYS", "value": 120}, {"code": "DIA", "value": "?"}],
            ),
        ),
        ("missing-components at components", _row("OBS012", code="BP", value_type="panel")),
        (
            "contradictory-value-type at value_type",
            _row("OBS013", value_type="numeric", components=[{"code": "SYS", "value": 120}]),
        ),
        ("unknown-value-type at value_type", _row("OBS014", value_type="image", value="x")),
        ("not-a-text at value", _row("OBS015", value_type="text", value=7)),
        ("unmapped-code at status", _row("OBS016", status="probable")),
        ("missing-reference at patient_id", _row("OBS017", patient_id=None)),
    ),
)
