"""Codes: no default for anything, and the source's own code is never lost."""

import pytest

from migration_assets.mapping import Quarantined
from migration_assets.terminology import code, coding, concept


def test_a_code_is_the_standard_one() -> None:
    assert code("gender", "F", "gender") == "female"
    assert coding("encounter_class", "checkup", "type") == {
        "system": "http://terminology.hl7.org/CodeSystem/v3-ActCode",
        "code": "AMB",
        "display": "ambulatory",
    }


@pytest.mark.parametrize("local", ["X", "f", "female"])
def test_a_code_nobody_mapped_is_quarantined_by_field(local: str) -> None:
    with pytest.raises(Quarantined) as error:
        code("gender", local, "sex")
    assert (error.value.reason, error.value.field) == ("unmapped-code", "sex")


def test_a_code_known_here_only_cannot_stand_where_a_standard_one_must() -> None:
    with pytest.raises(Quarantined, match="unmapped-code at role_code"):
        coding("role_code", "labtech", "role_code")
    with pytest.raises(Quarantined, match="unmapped-code at role_code"):
        concept("role_code", "labtech", "role_code", standard_required=True)


@pytest.mark.parametrize("absent", [None, ""])
def test_what_is_absent_stays_absent_unless_it_is_required(absent: str | None) -> None:
    assert code("gender", absent, "gender") is None
    assert coding("gender", absent, "gender") is None
    assert concept("gender", absent, "gender") is None
    for call in (code, coding, concept):
        with pytest.raises(Quarantined, match="missing-code at gender"):
            call("gender", absent, "gender", required=True)


def test_a_concept_keeps_the_local_coding_first() -> None:
    made = concept("condition", "HT001", "condition_id", named=True)
    assert made is not None
    assert [each["code"] for each in made["coding"]] == ["HT001", "I10"]
    assert made["text"] == "Hypertension"


def test_the_sources_own_words_win_and_let_an_unmapped_code_pass() -> None:
    local = {"system": "http://your-source-system.com/drugId", "code": "TEA17"}
    assert concept("drug", "TEA17", "drug_code", text="Sage tea") == {
        "coding": [local],
        "text": "Sage tea",
    }
    assert concept("drug", None, "drug_code", text="Sage tea", required=True) == {
        "text": "Sage tea"
    }
    with pytest.raises(Quarantined, match="unmapped-code at drug_code"):
        concept("drug", "TEA17", "drug_code")


def test_a_concept_is_the_callers_to_change() -> None:
    """Maps are shared by every row: an edited coding must not be the next patient's."""
    made = concept("condition", "HT001", "condition_id")
    assert made is not None
    made["coding"][0]["code"] = made["coding"][1]["code"] = "changed"
    again = concept("condition", "HT001", "condition_id")
    assert again is not None
    assert [each["code"] for each in again["coding"]] == ["HT001", "I10"]
