"""Settling: what is in Medplum is on account, however badly the submission ended."""

import pytest

from migration_assets.manifest import State, Unit, token
from migration_assets.medplum import EDITED, Answer, Delivered, Member, Submission, Verdict
from migration_assets.steps.preparation import Prepared
from migration_assets.steps.settling import settlement

SYSTEM = "http://x/id"
FIRST = Member("Encounter", SYSTEM, "E1", {"resourceType": "Encounter"})
SECOND = Member("ClinicalImpression", SYSTEM, "E1", {"resourceType": "ClinicalImpression"})
NAMES = [token(each.resource_type, each.system, each.value) for each in (FIRST, SECOND)]


def prepared(*members: Member) -> Prepared:
    unit = Unit(1, "encounters", "E1", 1, {}, deleted=False)
    prints = dict.fromkeys(NAMES, "f" * 32)
    return Prepared(unit, Submission(1, members), prints, "1.0.0")


def answer(member: Member, event: str, fhir_id: str | None = "a" * 8) -> Answer:
    return Answer(member, "POST", "b", 0, "201", event, None, fhir_id, "v1" if fhir_id else None)


def test_the_written_half_of_a_refused_group_stays_on_account() -> None:
    """Sent member by member: without its target nobody would ever delete or complete it."""
    made = prepared(FIRST, SECOND)
    answers = (answer(FIRST, "created"), answer(SECOND, "failed", None))
    settled = settlement(made, Delivered(made.submission, Verdict.REFUSED, answers, "medplum-400"))
    assert settled.state is State.REJECTED
    (target,) = settled.targets
    assert (target.token, target.fhir_id, target.fingerprint) == (NAMES[0], "a" * 8, None)


def test_what_an_incomplete_rollback_left_behind_is_on_account() -> None:
    made = prepared(FIRST, SECOND)
    answers = (answer(FIRST, "left-behind"), answer(SECOND, "failed", None))
    settled = settlement(made, Delivered(made.submission, Verdict.REFUSED, answers, "medplum-400"))
    assert [each.token for each in settled.targets] == [NAMES[0]]


@pytest.mark.parametrize("event", ["failed", "duplicate", "edit-found"])
def test_an_answer_that_says_nothing_was_written_makes_no_target(event: str) -> None:
    made = prepared(FIRST)
    delivered = Delivered(made.submission, Verdict.HELD, (answer(FIRST, event),), "held")
    assert settlement(made, delivered).targets == ()


def test_after_an_edit_by_others_no_row_counts_as_unchanged_against_it() -> None:
    known = Member("Encounter", SYSTEM, "E1", {"resourceType": "Encounter"}, "a" * 8, "v1")
    made = prepared(known)
    found = answer(known, "edit-found")
    settled = settlement(made, Delivered(made.submission, Verdict.HELD, (found,), EDITED))
    assert settled.state is State.QUARANTINED
    assert [(each.fhir_id, each.fingerprint) for each in settled.targets] == [("a" * 8, None)]


@pytest.mark.parametrize(
    ("event", "state"),
    [
        ("unchanged", State.UNCHANGED),
        ("found", State.UNCHANGED),
        ("confirmed", State.MIGRATED),
        ("overwrote-edit", State.MIGRATED),
        ("created", State.MIGRATED),
    ],
)
def test_only_what_was_written_counts_as_migrated(event: str, state: State) -> None:
    made = prepared(FIRST)
    delivered = Delivered(made.submission, Verdict.WRITTEN, (answer(FIRST, event),))
    assert settlement(made, delivered).state is state
