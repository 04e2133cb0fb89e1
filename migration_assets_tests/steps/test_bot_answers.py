"""A Bot's answer is read strictly: what is no resource of its making becomes nobody's record."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration_assets.mapping import Quarantined, Related, Skip
from migration_assets.steps.bot_answers import understood

TYPES = ("Encounter", "ClinicalImpression")
ONE = {"resourceType": "Encounter", "status": "finished"}
TWO = {"resourceType": "ClinicalImpression", "status": "completed"}


def outcome(severity: str, code: str | None = None, *paths: str) -> dict[str, Any]:
    details = {"coding": [{"code": code}], "text": "Kanarienvogel"} if code else {"text": "CANARY"}
    issue = {"severity": severity, "code": "processing", "details": details}
    return {"resourceType": "OperationOutcome", "issue": [issue | {"expression": list(paths)}]}


def refused(answer: Any, types: tuple[str, ...] = TYPES) -> str:
    with pytest.raises(Quarantined) as told:
        understood(answer, types)
    return str(told.value)


def test_a_resource_a_list_and_a_bundle_are_what_they_say() -> None:
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": [{"resource": ONE}]}
    both = {**bundle, "entry": [{"resource": ONE}, {"resource": TWO}]}
    assert understood(ONE, TYPES) == understood([ONE], TYPES) == understood(bundle, TYPES) == ONE
    assert understood([ONE, TWO], TYPES) == understood(both, TYPES) == Related((ONE, TWO))


def test_a_bot_says_why_a_row_waits_or_is_left_out_by_code_and_never_by_text() -> None:
    assert understood(outcome("information", "test-record"), TYPES) == Skip("test-record")
    assert refused(outcome("error", "unmapped-code", "status")) == "unmapped-code at status"
    assert refused(outcome("fatal")) == "bot-refused"
    assert refused(outcome("error", "Mr Kanarienvogel, 7", "name = Kanarienvogel")) == "bot-refused"
    assert refused(outcome("error", "a" * 65)) == "bot-refused"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (None, "bot-answer-empty"),
        ([], "bot-answer-empty"),
        ({"resourceType": "Bundle"}, "bot-answer-empty"),
        (outcome("information"), "bot-answer-empty"),  # what the server says for a silent Bot
        (outcome("warning", "no code"), "bot-answer-empty"),
        (True, "bot-answer-not-a-resource"),
        ("an Encounter", "bot-answer-not-a-resource"),
        ({"status": "finished"}, "bot-answer-not-a-resource"),
        ({"resourceType": 7}, "bot-answer-not-a-resource"),
        ({"resourceType": "Bundle", "entry": ["x"]}, "bot-answer-not-a-resource at Bundle.entry"),
        ({"resourceType": "Bundle", "entry": [{}]}, "bot-answer-not-a-resource"),
        ({"resourceType": "Patient"}, "bot-answer-of-another-type at Encounter"),
        ([ONE, {"resourceType": "Patient"}], "bot-answer-of-another-type at Encounter"),
        ([TWO, ONE], "bot-answer-of-another-type at Encounter"),
        (ONE | {"id": "1"}, "bot-answer-was-written at Encounter.id"),
        (ONE | {"meta": {"versionId": "1"}}, "bot-answer-was-written at Encounter.meta"),
    ],
)
def test_what_is_no_answer_is_told_by_its_kind(answer: Any, told: str) -> None:
    assert refused(answer) == told


@given(
    st.recursive(
        st.none() | st.booleans() | st.text() | st.integers(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["resourceType", "issue", "entry", "resource", "details", "coding"]
                ),
                inner | st.sampled_from(["OperationOutcome", "Bundle", "Encounter"]),
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_any_json_at_all_is_understood_or_refused(answer: Any) -> None:
    """An answer that crashed the run would hold up every other row."""
    try:
        made = understood(answer, TYPES)
    except Quarantined:
        return
    assert isinstance(made, Skip | Related) or made["resourceType"] == "Encounter"
