"""References: what a mapping writes is what the deliverer reads, whatever the key is made of."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration_assets.fhir.references import (
    ConditionalReference,
    optional_reference,
    parse_reference,
    reference,
    references_in,
    with_references,
)
from migration_assets.mapping import Quarantined

SYSTEM = "http://your-source-system.com/patientId"

# Every class of character in contract §2, and anything else that is not a lone surrogate.
values = st.text(
    st.one_of(st.sampled_from(" +%&#?/=;:\"'$*()<>\t,\\|~^ÄŒ🦩"), st.characters(codec="utf-8")),
    min_size=1,
)


def test_a_reference_reads_as_in_the_guide() -> None:
    assert reference("Patient", "P001") == {"reference": f"Patient?identifier={SYSTEM}|P001"}


@given(values)
def test_a_reference_is_read_as_it_was_written(value: str) -> None:
    written = ConditionalReference("Patient", SYSTEM, value)
    assert parse_reference(written.text) == written


@given(values)
def test_a_reference_is_one_query_without_blanks(value: str) -> None:
    """Anything else would end the value early, or be refused as a URI."""
    query = ConditionalReference("Patient", SYSTEM, value).text.partition("=")[2]
    assert not set(query) & set(' \t\n"#&+=?<>\\,')
    assert query.isascii()


@pytest.mark.parametrize(
    "text",
    [
        "Patient/8f7f0e0c-9d3b-4a0f-9a3e-3e0f7a9b6a11",
        "urn:uuid:8f7f0e0c-9d3b-4a0f-9a3e-3e0f7a9b6a11",
        "#contained",
        "Patient?name=Doe",
        "Patient?identifier=P001",
        "Patient?identifier=s|a,b",
        "Patient?identifier=s|a&name=b",
        "Patient?identifier=s|%ff",
        "",
    ],
)
def test_any_other_text_is_not_a_conditional_reference(text: str) -> None:
    assert parse_reference(text) is None


@pytest.mark.parametrize("key", [None, ""])
def test_a_reference_the_row_lacks_is_quarantined_by_field(key: str | None) -> None:
    with pytest.raises(Quarantined) as error:
        reference("Patient", key, "patient_id")
    assert (error.value.reason, error.value.field) == ("missing-reference", "patient_id")


def test_an_optional_reference_may_be_left_out_but_not_padded() -> None:
    assert optional_reference("Patient", None, "patient_id") is None
    assert optional_reference("Patient", "", "patient_id") is None
    with pytest.raises(Quarantined, match="identifier-padded at patient_id"):
        optional_reference("Patient", "P001 ", "patient_id")


def _report() -> dict[str, Any]:
    return {
        "resourceType": "DiagnosticReport",
        "code": {"text": "reference"},
        "subject": reference("Patient", "P001"),
        "performer": [{"reference": "Practitioner/1"}, {"display": "someone"}],
        "result": [reference("Observation", "1"), reference("Observation", "2")],
        "extension": [{"url": "http://x", "valueReference": reference("Patient", "P002")}],
        "conclusion": "reference",
        "note": ["x", 1, None],
    }


def test_every_reference_is_found_with_its_path() -> None:
    assert [(path, each.value) for path, each in references_in(_report())] == [
        ("DiagnosticReport.subject", "P001"),
        ("DiagnosticReport.result[0]", "1"),
        ("DiagnosticReport.result[1]", "2"),
        ("DiagnosticReport.extension[0].valueReference", "P002"),
    ]


def test_known_references_become_literal_and_the_rest_stays() -> None:
    report = _report()
    before = copy.deepcopy(report)
    literal = with_references(
        report, lambda each: f"Patient/{each.value}" if each.resource_type == "Patient" else None
    )
    assert report == before
    assert literal["subject"] == {"reference": "Patient/P001"}
    assert literal["extension"][0]["valueReference"] == {"reference": "Patient/P002"}
    assert {**literal, "subject": 0, "extension": 0} == {**before, "subject": 0, "extension": 0}


def test_a_resource_without_references_is_not_copied() -> None:
    report = _report()
    assert with_references(report, lambda _: None) is report
