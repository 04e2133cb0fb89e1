"""Validation: what a real Medplum said to each of these is in contract §10; ours must say more.

The first table is what the server refuses, the second what it stores without a word although it
is wrong, the third what it stores and is right. ``test_medplum_agrees`` asks Medplum's own code.
"""

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migration_assets.fhir.structure import resource_shape
from migration_assets.fhir.validation import problems

PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "identifier": [{"system": "http://x/patientId", "value": "P001"}],
    "name": [{"family": "Doe", "given": ["John"]}],
    "birthDate": "1980-07-15",
}
OBSERVATION: dict[str, Any] = {
    "resourceType": "Observation",
    "identifier": [{"system": "http://x/observationId", "value": "1"}],
    "status": "final",
    "code": {"text": "Height"},
    "subject": {"reference": "Patient?identifier=http://x/patientId|P001"},
}
CANARY = "Zzyzxfamily"


def _patient(**parts: Any) -> dict[str, Any]:
    return {**copy.deepcopy(PATIENT), **parts}


def _observation(**parts: Any) -> dict[str, Any]:
    return {**copy.deepcopy(OBSERVATION), **parts}


def _found(resource: dict[str, Any]) -> list[str]:
    return [f"{each.reason} at {each.path}" for each in problems(resource)]


REFUSED = [
    (_patient(gender=1), "wrong-json-type at Patient.gender"),
    (_patient(gender=" male"), "invalid-code at Patient.gender"),
    (_patient(nope=1), "unknown-property at Patient.nope"),
    (_patient(name=[{"nope": 1}]), "unknown-property at Patient.name[0].nope"),
    (_patient(active="yes"), "wrong-json-type at Patient.active"),
    (_patient(name=[{"family": 7}]), "wrong-json-type at Patient.name[0].family"),
    (_patient(name={}), "wrong-json-type at Patient.name"),
    (_patient(maritalStatus=[]), "wrong-json-type at Patient.maritalStatus"),
    (_patient(birthDate="1980-1-2"), "invalid-date at Patient.birthDate"),
    (_patient(birthDate="1980-13-01"), "impossible-date at Patient.birthDate"),
    (_patient(birthDate="1980-01-02T00:00:00Z"), "invalid-date at Patient.birthDate"),
    (_patient(birthDate="0000-00-00"), "impossible-date at Patient.birthDate"),
    (_patient(birthDate="19999-12-31"), "invalid-date at Patient.birthDate"),
    (_patient(birthDate=None), "null at Patient.birthDate"),
    (
        _observation(effectiveDateTime="2020-01-02T10:00Z"),
        "invalid-date-time at Observation.effectiveDateTime",
    ),
    (
        _observation(effectiveDateTime="2020-01-02T24:00:00Z"),
        "invalid-date-time at Observation.effectiveDateTime",
    ),
    (
        _observation(effectiveDateTime="2020-01-02 10:00:00Z"),
        "invalid-date at Observation.effectiveDateTime",
    ),
    (
        _observation(effectiveDateTime="2020-01-02T10:00:00+0530"),
        "invalid-date-time at Observation.effectiveDateTime",
    ),
    (
        _observation(effectiveDateTime="2020-01T10:00:00Z"),
        "invalid-date-time at Observation.effectiveDateTime",
    ),
    (_observation(issued="2020-01-02T10:00:00"), "zone-less-time at Observation.issued"),
    (_observation(issued="2020-01-02"), "invalid-instant at Observation.issued"),
    (_observation(issued=7), "wrong-json-type at Observation.issued"),
    (_observation(effectiveDateTime=7), "wrong-json-type at Observation.effectiveDateTime"),
    (_patient(birthDate=1980), "wrong-json-type at Patient.birthDate"),
    (
        {name: each for name, each in OBSERVATION.items() if name != "status"},
        "missing-required at Observation.status",
    ),
    (
        {name: each for name, each in OBSERVATION.items() if name != "code"},
        "missing-required at Observation.code",
    ),
    (_patient(name=[{"family": " \t"}]), "blank-string at Patient.name[0].family"),
    (_patient(name=[{"family": "  "}]), "blank-string at Patient.name[0].family"),
    (_patient(name=[{"given": [None]}]), "null at Patient.name[0].given[0]"),
    (_patient(active=None), "null at Patient.active"),
    (_patient(name=[{}]), "empty-object at Patient.name[0]"),
    (_patient(name=[None]), "null at Patient.name[0]"),
    (_patient(name=None), "null at Patient.name"),
    (_patient(name=[{"family": "a\x00"}]), "control-character at Patient.name[0].family"),
    (_patient(name=[{"family": "a\x01"}]), "control-character at Patient.name[0].family"),
    (
        _patient(identifier=[{"system": "http://x", "value": "a\x00"}]),
        "control-character at Patient.identifier[0].value",
    ),
    (
        _observation(code={"coding": [{"system": "http://x", "code": " a  b "}]}),
        "invalid-code at Observation.code.coding[0].code",
    ),
    (
        _observation(code={"coding": [{"system": "http://x y", "code": "a"}]}),
        "invalid-uri at Observation.code.coding[0].system",
    ),
    (_observation(valueInteger=1.5), "wrong-json-type at Observation.valueInteger"),
    (_observation(valueInteger="5"), "wrong-json-type at Observation.valueInteger"),
    (
        _patient(telecom=[{"system": "phone", "value": "1", "rank": 0}]),
        "number-out-of-range at Patient.telecom[0].rank",
    ),
    (
        _observation(valueQuantity={"value": float("inf")}),
        "not-finite at Observation.valueQuantity.value",
    ),
    (
        _observation(valueQuantity={"value": "1.10"}),
        "wrong-json-type at Observation.valueQuantity.value",
    ),
    (
        _patient(name=[{"family": "x" * 2_701}]),
        "text-too-long at Patient.name[0]",
    ),
    (
        _patient(address=[{"line": ["ä" * 900, "b" * 901]}]),
        "text-too-long at Patient.address[0]",
    ),
    (
        _patient(text={"status": "generated"}),
        "missing-required at Patient.text.div",
    ),
    (_patient(resourceType="Nope"), "unknown-type at resourceType"),
    (_patient(resourceType="patient"), "unknown-type at resourceType"),
    (_patient(resourceType="HumanName"), "unknown-type at resourceType"),
    (_patient(resourceType=None), "unknown-type at resourceType"),
    (_patient(extension=[{"valueString": "x"}]), "missing-required at Patient.extension[0].url"),
    (
        _patient(photo=[{"data": "not base64!"}]),
        "invalid-base64 at Patient.photo[0].data",
    ),
    (_observation(subject={"reference": 1}), "wrong-json-type at Observation.subject.reference"),
    (
        _patient(contained=[{"resourceType": "Nope"}]),
        "unknown-type at Patient.contained[0].resourceType",
    ),
]

STORED_ALTHOUGH_WRONG = [
    (_patient(id="a b"), "invalid-id at Patient.id"),
    (_patient(contained=[{"id": "x"}]), "unknown-type at Patient.contained[0].resourceType"),
    (_patient(gender="M"), "unknown-code at Patient.gender"),
    (_observation(status="bogus"), "unknown-code at Observation.status"),
    (_patient(birthDate="1980-02-30"), "impossible-date at Patient.birthDate"),
    (
        _observation(effectiveDateTime="2020-02-30T10:00:00Z"),
        "impossible-date at Observation.effectiveDateTime",
    ),
    (
        _observation(effectiveDateTime="2020-01-02T10:00:00"),
        "zone-less-time at Observation.effectiveDateTime",
    ),
    (_patient(birthDate=""), "invalid-date at Patient.birthDate"),
    (_observation(valueString="a", valueInteger=1), "choice-conflict at Observation.value[x]"),
    (
        _patient(extension=[{"url": "http://x", "valueString": "a", "valueCode": "b"}]),
        "choice-conflict at Patient.extension[0].value[x]",
    ),
    (_patient(name=[{"family": ""}]), "empty-string at Patient.name[0].family"),
    (
        _patient(identifier=[{"system": "http://x", "value": ""}]),
        "empty-string at Patient.identifier[0].value",
    ),
    (
        _patient(identifier=[{"system": "http://x", "value": " 1"}]),
        "identifier-padded at Patient.identifier[0].value",
    ),
    (
        _patient(identifier=[{"system": "http://x", "value": "1\n"}]),
        "identifier-padded at Patient.identifier[0].value",
    ),
    (_patient(identifier=[]), "empty-array at Patient.identifier"),
    (_patient(name=[{"given": []}]), "empty-array at Patient.name[0].given"),
    (_patient(maritalStatus={}), "empty-object at Patient.maritalStatus"),
    (_patient(name=[{"family": "\ud800"}]), "lone-surrogate at Patient.name[0].family"),
    (_patient(language="de\ud800"), "lone-surrogate at Patient.language"),
    (_observation(valueInteger=2**31), "number-out-of-range at Observation.valueInteger"),
    (
        _observation(valueQuantity={"value": 2**53 + 1}),
        "number-inexact at Observation.valueQuantity.value",
    ),
    (
        _observation(subject={"reference": "Practitioner?identifier=http://x|1"}),
        "wrong-reference-type at Observation.subject.reference",
    ),
    (
        _observation(subject={"reference": "https://h/fhir/Practitioner/1"}),
        "wrong-reference-type at Observation.subject.reference",
    ),
    (
        _observation(performer=[{"reference": "Patient/1"}, {"reference": "Location/1"}]),
        "wrong-reference-type at Observation.performer[1].reference",
    ),
    (
        {
            "resourceType": "MedicationRequest",
            "identifier": [{"value": "1"}],
            "status": "active",
            "intent": "order",
            "subject": {"reference": "Patient/1"},
            "medicationReference": {"reference": "Substance/1"},
        },
        "wrong-reference-type at MedicationRequest.medicationReference.reference",
    ),
    (
        {
            "resourceType": "Condition",
            "identifier": [{"value": "1"}],
            "subject": {"reference": "Patient/1"},
            "clinicalStatus": {"coding": [{"system": "http://x", "code": "active"}]},
        },
        "unknown-code at Condition.clinicalStatus.coding",
    ),
    (
        {name: each for name, each in PATIENT.items() if name != "identifier"},
        "identifier-missing at Patient.identifier",
    ),
]

RIGHT = [
    PATIENT,
    OBSERVATION,
    _patient(birthDate="1980"),
    _patient(birthDate="1980-02"),
    _patient(birthDate="0001-01-01"),
    _patient(birthDate="9999-12-31"),
    _patient(_birthDate={"extension": [{"url": "http://x", "valueString": "about"}]}),
    _observation(effectiveDateTime="2020-01-02T10:00:00.123456789Z"),
    _observation(effectiveDateTime="2020-01-02T10:00:00+05:30"),
    _observation(effectiveDateTime="2020-01-02T10:00:00-14:00"),
    _observation(issued="2020-01-02T10:00:00Z"),
    _observation(valueTime="10:00:00"),
    _observation(valueQuantity={"value": 1.1, "comparator": "<"}),
    _observation(valueQuantity={"value": 0}),
    _observation(valueBoolean=False),
    _observation(status="corrected"),
    _observation(subject={"identifier": {"system": "http://x", "value": "1"}}),
    _observation(subject={"reference": "urn:uuid:8f7f0e0c-9d3b-4a0f-9a3e-3e0f7a9b6a11"}),
    _observation(
        component=[{"code": {"text": "a"}, "valueString": "b", "referenceRange": [{"text": "c"}]}]
    ),
    _patient(name=[{"family": " padded "}]),
    _patient(name=[{"family": "line\nbreak"}]),
    _patient(name=[{"family": "a\u00a0b 🦩"}]),
    _patient(identifier=[{"system": "http://x", "value": "v" * 3000}]),
    _patient(telecom=[{"system": "email", "value": "not an email"}]),
    _patient(name=[{"family": "ä" * 1_300}]),
    _patient(contained=[{"resourceType": "Basic", "id": "x", "code": {"text": "y"}}]),
    _patient(extension=[{"url": "http://x", "extension": [{"url": "y", "valueDecimal": 1.5}]}]),
    {
        "resourceType": "Encounter",
        "identifier": [{"value": "1"}],
        "status": "finished",
        "class": {"code": "AMB"},
    },
    {"resourceType": "Binary", "contentType": "text/plain", "data": "YQ=="},
    {
        "resourceType": "Condition",
        "identifier": [{"value": "1"}],
        "subject": {"reference": "Patient/1"},
        "clinicalStatus": {
            "coding": [
                {"system": "http://x/local", "code": "on"},
                {
                    "system": "http://terminology.hl7.org/CodeSystem/condition-clinical",
                    "code": "active",
                },
            ]
        },
    },
]


@pytest.mark.parametrize(("resource", "problem"), REFUSED, ids=[each for _, each in REFUSED])
def test_what_the_server_refuses_is_found_before_it_is_sent(
    resource: dict[str, Any], problem: str
) -> None:
    assert _found(resource) == [problem]


@pytest.mark.parametrize(
    ("resource", "problem"),
    STORED_ALTHOUGH_WRONG,
    ids=[each for _, each in STORED_ALTHOUGH_WRONG],
)
def test_what_the_server_stores_although_it_is_wrong_is_found(
    resource: dict[str, Any], problem: str
) -> None:
    assert problem in _found(resource)


@pytest.mark.parametrize("resource", RIGHT)
def test_what_is_right_is_let_through(resource: dict[str, Any]) -> None:
    """A false alarm keeps a patient's record out of Medplum as surely as a crash."""
    before = copy.deepcopy(resource)
    assert _found(resource) == []
    assert resource == before


def test_every_problem_is_told_at_once() -> None:
    """A person who corrects a source wants one round, not one per mistake."""
    resource = _patient(gender="M", birthDate="1980-02-30", nope=1)
    assert sorted(_found(resource)) == [
        "impossible-date at Patient.birthDate",
        "unknown-code at Patient.gender",
        "unknown-property at Patient.nope",
    ]


def test_a_choice_that_must_be_made_is_missed() -> None:
    resource = {
        "resourceType": "MedicationRequest",
        "identifier": [{"value": "1"}],
        "status": "active",
        "intent": "order",
        "subject": {"reference": "Patient/1"},
    }
    assert _found(resource) == ["missing-required at MedicationRequest"]


_NASTY = [CANARY, CANARY + "\x00", 7, 1.5, True, None, [], {}, [CANARY], {"family": CANARY}, [None]]
_NAMES = [name for name in resource_shape("Patient").elements if name != "resourceType"]  # type: ignore[union-attr] # Patient exists


@settings(max_examples=300)
@given(
    st.dictionaries(
        st.sampled_from(_NAMES),
        st.recursive(
            st.sampled_from(_NASTY),
            lambda inner: st.one_of(
                st.lists(inner, max_size=2),
                st.dictionaries(
                    st.sampled_from(["family", "coding", "reference", "extension", "url", "value"]),
                    inner,
                    max_size=3,
                ),
            ),
            max_leaves=6,
        ),
        max_size=4,
    )
)
def test_no_junk_crashes_it_and_no_problem_repeats_a_value(parts: dict[str, Any]) -> None:
    """A crash would stop the run; a value in a reason would put a name into logs and reports."""
    found = problems({"resourceType": "Patient", **parts})
    assert CANARY not in "".join(f"{each.path}{each.reason}" for each in found)
    json.dumps([each.path for each in found])


@pytest.mark.parametrize("kind", ["Patient", "Observation", "Timing", "Claim", "ElementDefinition"])
def test_every_element_of_a_type_has_a_check_or_a_shape(kind: str) -> None:
    """Reading the shapes all the way down proves that no annotation of the models is unknown."""
    shape = resource_shape(kind)
    if shape is None:
        shape = resource_shape("StructureDefinition" if kind == "ElementDefinition" else "CarePlan")
    assert shape is not None
    seen, open_ = {shape}, [shape]
    while open_:
        for element in open_.pop().elements.values():
            assert (element.check is None) or (element.shape is None)
            if element.shape is not None and element.shape not in seen:
                seen.add(element.shape)
                open_.append(element.shape)
    assert len(seen) > 10


@pytest.mark.parametrize("url", [7, [], {}, None, True])
def test_a_url_that_is_no_text_is_a_problem_and_not_a_crash_of_the_models(url: Any) -> None:
    """fhir_core raises TypeError and AttributeError of its own there."""
    patient = {
        "resourceType": "Patient",
        "identifier": [{"system": "http://x", "value": "1"}],
        "photo": [{"url": url}],
    }
    assert [each.path for each in problems(patient)] == ["Patient.photo[0].url"]
