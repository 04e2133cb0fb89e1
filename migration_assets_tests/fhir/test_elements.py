"""Elements: what is absent is never written, and a number is the number the source had."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration_assets.fhir.elements import (
    address,
    annotation,
    codeable_concept,
    coding,
    contact_point,
    human_name,
    number,
    period,
    present,
    quantity,
    resource,
    several,
)
from migration_assets.mapping import Quarantined


def test_absent_parts_are_not_written_but_no_and_nought_are() -> None:
    """Medplum drops '' and [] in silence, and refuses null (contract §10)."""
    assert present(a=None, b="", c=[], d={}, e=False, f=0, class_="AMB") == {
        "e": False,
        "f": 0,
        "class": "AMB",
    }


def test_an_element_without_any_part_is_absent() -> None:
    assert codeable_concept() is None
    assert codeable_concept(None, text="") is None
    assert human_name(None, [None, ""]) is None
    assert contact_point("phone", "") is None
    assert address() is None
    assert period(None) is None
    assert annotation("", "2023") is None
    assert several(None, {}) == []


def test_elements_have_the_parts_they_were_given() -> None:
    assert coding("s", "c") == {"system": "s", "code": "c"}
    assert codeable_concept(coding("s", "c", "d"), text="t") == {
        "coding": [{"system": "s", "code": "c", "display": "d"}],
        "text": "t",
    }
    assert human_name("Doe", ["John", None, "Q"]) == {"family": "Doe", "given": ["John", "Q"]}
    assert contact_point("phone", "1") == {"system": "phone", "value": "1"}
    assert address(line="1 Road", postal_code="62701") == {
        "line": ["1 Road"],
        "postalCode": "62701",
    }
    assert period("2020", "2021") == {"start": "2020", "end": "2021"}
    assert annotation("text", "2023") == {"text": "text", "time": "2023"}
    assert resource("Basic", "things", id="") == {
        "resourceType": "Basic",
        "meta": {"source": "http://your-source-system.com/things"},
    }


def test_blanks_are_kept_for_validation_to_see() -> None:
    """Taking them for absence would be a silent fix."""
    assert human_name("   ") == {"family": "   "}


def test_a_quantity_without_a_ucum_code_has_no_system() -> None:
    assert quantity(1, unit="drops") == {"value": 1, "unit": "drops"}
    assert quantity(5, unit="%", code="%", comparator="<") == {
        "value": 5,
        "comparator": "<",
        "unit": "%",
        "system": "http://unitsofmeasure.org",
        "code": "%",
    }


@pytest.mark.parametrize(
    ("given_value", "expected"),
    [("7.10", 7.1), (7, 7), ("0", 0), ("-0.5", -0.5), (98.6, 98.6), ("1e3", 1000), (12.0, 12)],
)
def test_a_number_is_the_number_the_source_had(given_value: Any, expected: float) -> None:
    made = number(given_value, "value")
    assert made == expected
    assert type(made) is type(expected)


@given(
    st.decimals(
        allow_nan=False, allow_infinity=False, places=4, min_value=-(10**8), max_value=10**8
    )
)
def test_no_digit_is_invented_or_lost(exact: Decimal) -> None:
    assert Decimal(str(number(str(exact), "value"))) == exact


@pytest.mark.parametrize(
    ("given_value", "reason"),
    [
        ("n/a", "not-a-number"),
        ("7,1", "not-a-number"),
        ("1,000.5", "not-a-number"),
        (" 7", "not-a-number"),
        ("+7", "not-a-number"),
        ("\u0667", "not-a-number"),
        ("NaN", "not-a-number"),
        ("", "not-a-number"),
        (True, "not-a-number"),
        (None, "not-a-number"),
        ([7], "not-a-number"),
        ("3.14159265358979323846", "number-inexact"),
        (2**60 + 1, "number-inexact"),
        ("1e400", "number-inexact"),
        (10**400, "number-inexact"),
        (float("inf"), "number-inexact"),
        (float("nan"), "number-inexact"),
    ],
)
def test_what_is_no_number_is_quarantined(given_value: Any, reason: str) -> None:
    with pytest.raises(Quarantined) as error:
        number(given_value, "value")
    assert (error.value.reason, error.value.field) == (reason, "value")
