"""What differs is named by element and in words that a clinician understands; nothing is missed."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration_assets.reconciliation.differences import differences
from migration_assets.reconciliation.places import reference_at, with_reference
from migration_assets.reconciliation.seen import Seen

OBSERVATION: dict[str, Any] = {
    "resourceType": "Observation",
    "status": "final",
    "code": {"coding": [{"system": "http://loinc.org", "code": "8302-2"}]},
    "subject": {"reference": "Patient/a"},
    "effectiveDateTime": "2023-06-15T00:05:00Z",
    "valueQuantity": {"value": 150, "unit": "cm"},
}


@pytest.mark.parametrize(
    ("change", "path", "way"),
    [
        ({"status": "amended"}, "Observation.status", "value"),
        (
            {"code": {"coding": [{"system": "http://loinc.org", "code": "8302-3"}]}},
            "Observation.code.coding[0].code",
            "code",
        ),
        ({"subject": {"reference": "Patient/b"}}, "Observation.subject.reference", "reference"),
        (
            {"effectiveDateTime": "2023-06-15T02:05:00+02:00"},
            "Observation.effectiveDateTime",
            "zone",
        ),
        (
            {"effectiveDateTime": "2023-06-15T00:05:00+02:00"},
            "Observation.effectiveDateTime",
            "date",
        ),
        ({"effectiveDateTime": "2023-06-15"}, "Observation.effectiveDateTime", "precision"),
        ({"effectiveDateTime": "2022-06-15"}, "Observation.effectiveDateTime", "date"),
        (
            {"valueQuantity": {"value": 1.5, "unit": "cm"}},
            "Observation.valueQuantity.value",
            "quantity",
        ),
        (
            {"valueQuantity": {"value": 150, "unit": "m"}},
            "Observation.valueQuantity.unit",
            "quantity",
        ),
        ({"valueQuantity": {"value": 0}}, "Observation.valueQuantity.value", "quantity"),
        ({"note": [{"text": "x"}]}, "Observation.note", "added"),
    ],
)
def test_a_difference_is_named_for_what_it_is(change: dict[str, Any], path: str, way: str) -> None:
    """Absent is not zero, one instant in two zones is not two, and a code is not just a text."""
    assert (path, way) in {(e.path, e.way) for e in differences(OBSERVATION, OBSERVATION | change)}


def test_what_medplum_adds_is_no_difference() -> None:
    """Its id and times, 150.0 for 150, and the name it puts beside a reference (contract §5)."""
    found = OBSERVATION | {
        "id": "x",
        "meta": {"versionId": "v", "lastUpdated": "2026-01-01T00:00:00Z"},
        "subject": {"reference": "Patient/a", "display": "Somebody"},
        "valueQuantity": {"value": 150.0, "unit": "cm"},
    }
    assert differences(OBSERVATION, found) == ()


def test_true_is_not_one() -> None:
    patient = {"resourceType": "Patient", "active": True}
    assert [e.path for e in differences(patient, {**patient, "active": 1})] == ["Patient.active"]


_JSON = st.recursive(
    st.text("ab", max_size=2) | st.integers(0, 2) | st.booleans(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("xy", min_size=1), inner),
    max_leaves=6,
)


@given(_JSON, _JSON)
def test_two_resources_differ_exactly_if_a_difference_is_told(one: Any, other: Any) -> None:
    """No change of content may pass for none, wherever it is."""
    left, right = ({"resourceType": "Basic", "x": each} for each in (one, other))
    same = repr(_sorted(left)) == repr(_sorted(right))
    assert (differences(left, right) == ()) is same


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _sorted(value[name]) for name in sorted(value)}
    return [_sorted(each) for each in value] if isinstance(value, list) else value


@given(st.sets(st.integers(0, 200_000)), st.integers(0, 200_000))
def test_who_was_seen_is_remembered_and_nobody_else(numbers: set[int], other: int) -> None:
    seen = Seen()
    for each in [*numbers, *numbers]:
        seen.add(each)
    assert len(seen) == len(numbers)
    assert all(each in seen for each in numbers)
    assert (other in seen) is (other in numbers)


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("Observation.subject", True),
        ("Observation.performer[1]", True),
        ("Observation.performer[2]", False),
        ("Observation.component[0].valueReference", False),
    ],
)
def test_a_reference_is_set_at_its_path_or_nowhere(path: str, *, there: bool) -> None:
    performer = [{"reference": "Patient/x"}, {"reference": "Patient/y", "display": "Y"}]
    observation = {**OBSERVATION, "performer": performer}
    made = with_reference(observation, path, "Patient/z")
    assert (made is not None) is there
    if made is not None:
        assert reference_at(made, path) == "Patient/z"
        assert repr(made).count("display") == ("performer" not in path)
        assert reference_at(observation, path) != "Patient/z"
