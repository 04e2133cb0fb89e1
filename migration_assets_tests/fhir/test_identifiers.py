"""Identifiers: a value that Medplum would not find again is never written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration_assets.fhir.identifiers import (
    identified_type,
    identifier,
    identifier_system,
    local_system,
    percent_encoded,
    search_token,
    split_search_token,
)
from migration_assets.mapping import Quarantined


@pytest.mark.parametrize(
    ("resource_type", "name"),
    [
        ("Patient", "patientId"),
        ("PractitionerRole", "practitionerRoleId"),
        ("Condition", "patientConditionId"),
        ("ClinicalImpression", "clinicalImpressionId"),
    ],
)
def test_systems_are_the_guides(resource_type: str, name: str) -> None:
    assert identifier_system(resource_type) == f"http://your-source-system.com/{name}"


def test_an_identifier_keeps_the_value_to_the_letter() -> None:
    assert identifier("Patient", "p001 / Ä|,\\") == {
        "system": "http://your-source-system.com/patientId",
        "value": "p001 / Ä|,\\",
    }


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "identifier-blank"),
        (" \t", "identifier-blank"),
        ("\ufeff", "identifier-blank"),
        (" P001", "identifier-padded"),
        ("P001\n", "identifier-padded"),
        ("\ufeffP001", "identifier-padded"),
        ("P\x00001", "identifier-unreadable"),
        ("P\x01", "identifier-unreadable"),
        ("P\ud800", "identifier-unreadable"),
    ],
)
def test_a_value_that_would_not_be_found_again_is_quarantined(value: str, reason: str) -> None:
    """Each of these made a duplicate per run, or a 400, on a real server (contract §2, §10)."""
    with pytest.raises(Quarantined) as error:
        identifier("Patient", value, "patient_id")
    assert (error.value.reason, error.value.field) == (reason, "patient_id")
    assert value.strip() == "" or value not in str(error.value)


@pytest.mark.parametrize("value", ["a\tb", "x" * 3000, "naïve 🦩", "ne5", "a\u00a0b"])
def test_a_value_the_server_takes_is_let_through(value: str) -> None:
    assert identifier("Patient", value)["value"] == value


def test_commas_and_backslashes_are_escaped_and_nothing_else_is() -> None:
    """A bare comma means OR: 201 every time, a duplicate per run (contract §2)."""
    assert search_token("s", "a,b\\c|d$e") == "s|a\\,b\\\\c|d$e"


@given(st.text(st.characters(exclude_characters="|")), st.text())
def test_a_token_splits_into_what_it_was_made_of(system: str, value: str) -> None:
    assert split_search_token(search_token(system, value)) == (system, value)


def test_a_system_with_a_bar_cannot_be_told_from_its_value() -> None:
    with pytest.raises(ValueError, match="bar"):
        search_token("a|b", "c")


@pytest.mark.parametrize("token", ["no bar", "s|a,b", "s|a\\"])
def test_what_is_not_one_token_is_not_split(token: str) -> None:
    with pytest.raises(ValueError, match="token"):
        split_search_token(token)


def test_a_token_in_a_url_leaves_nothing_to_be_misread() -> None:
    assert percent_encoded("http://s/x|a,&b") == "http%3A%2F%2Fs%2Fx%7Ca%2C%26b"


@pytest.mark.parametrize(
    "resource_type", ["Patient", "Condition", "PractitionerRole", "Organization"]
)
def test_a_system_of_keys_tells_its_type_and_no_other_does(resource_type: str) -> None:
    assert identified_type(identifier_system(resource_type)) == resource_type
    for other in ("", "http://x/patientId", local_system("conditionId"), local_system("patient")):
        assert identified_type(other) is None
