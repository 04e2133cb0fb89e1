"""What became of a submission: verdicts and answers, read from the bundle's entries (pure).

Belongs here: from response entries to ``Delivered``. Does not belong here: sending again.
"""

import enum
from dataclasses import dataclass, replace
from typing import Any

from migration_assets.medplum.bundles import Member, Packed, Submission
from migration_assets.medplum.outcomes import Fate, Outcome, entry_outcome


class Verdict(enum.Enum):
    """How a submission ended in this run."""

    WRITTEN = "written"
    REFUSED = "refused"  # Medplum refused it for good
    HELD = "held"  # a person must look
    OPEN = "open"  # not now: stays pending


@dataclass(frozen=True)
class Answer:
    """What Medplum said of one member; the manifest keeps it as an attempt.

    ``event``: created, changed, unchanged, deleted, failed; ``found``: it was there already and was
    left as it is; ``confirmed``: our own earlier write; ``overwrote-edit``: written over an edit
    made in Medplum. Of a search: ``edit-found`` and ``duplicate`` name what a person must look at,
    ``left-behind`` what a refused group wrote although it should have been rolled back.
    """

    member: Member
    method: str
    bundle: str
    entry: int
    status: str
    event: str
    outcome: str | None = None
    fhir_id: str | None = None
    version_id: str | None = None


@dataclass(frozen=True)
class Delivered:
    """The end of one submission; ``reason`` and ``field`` when it was not written."""

    submission: Submission
    verdict: Verdict
    answers: tuple[Answer, ...] = ()
    reason: str | None = None
    field: str | None = None


NOT_WRITTEN = frozenset({"failed", "duplicate", "edit-found", "left-behind"})
"""Events of answers that do not say: this is in Medplum as it was sent."""

EDITED = "edited-in-medplum"
GONE = "deleted-in-medplum"
DUPLICATE = "duplicate-in-medplum"
_HELD_REASONS = {Fate.DUPLICATE: DUPLICATE, Fate.GONE: GONE}


def ended(packed: Packed, answers: list[Answer], outcome: Outcome) -> Delivered:
    """The end of a submission that was answered for good, and not with success."""
    reason = _HELD_REASONS.get(outcome.fate)
    if reason is not None:
        return Delivered(packed.submission, Verdict.HELD, tuple(answers), reason=reason)
    return Delivered(
        packed.submission,
        Verdict.REFUSED,
        tuple(answers),
        reason=f"medplum-{outcome.status}-{outcome.code or 'error'}",
        field=outcome.expression,
    )


def read_entry(
    packed: Packed, entry: dict[str, Any], bundle: str, index: int
) -> tuple[list[Answer], Outcome]:
    """Every member's answer, and the outcome that decides for the submission."""
    members = packed.submission.members
    outcome = entry_outcome(entry)
    if not packed.nested:
        outcome = _proved(members[0], outcome)
        return [_answer(packed, 0, outcome, bundle, index)], outcome
    inner = (entry.get("resource") or {}).get("entry") or []
    if outcome.fate is not Fate.DONE or len(inner) != len(members):
        if outcome.fate is Fate.DONE:  # a success that does not say of what: look again
            outcome = Outcome("", Fate.RETRY)
        return [_answer(packed, at, outcome, bundle, index) for at in range(len(members))], outcome
    outcomes = [
        _proved(member, entry_outcome(each)) for member, each in zip(members, inner, strict=True)
    ]
    worst = next((each for each in outcomes if each.fate is not Fate.DONE), outcomes[0])
    answers = [_answer(packed, at, each, bundle, index) for at, each in enumerate(outcomes)]
    return answers, worst


def _proved(member: Member, outcome: Outcome) -> Outcome:
    """Take an answer for what it shows: a success must name the resource and its version.

    One that does not, or names another, is looked for again. A removal of what is not there, or
    no longer, has come to its end.
    """
    if member.body is None and outcome.fate is Fate.GONE:
        return replace(outcome, fate=Fate.DONE)
    if member.deletes:
        return outcome
    named = outcome.fhir_id is not None and outcome.version_id is not None
    other = member.fhir_id is not None and outcome.fhir_id != member.fhir_id
    if outcome.fate is Fate.DONE and (other or not named):
        return Outcome("", Fate.RETRY)
    return outcome


def _answer(packed: Packed, at: int, outcome: Outcome, bundle: str, index: int) -> Answer:
    member, method = packed.submission.members[at], packed.methods[at]
    fhir_id = outcome.fhir_id or member.fhir_id
    return Answer(
        member,
        method,
        bundle,
        index,
        outcome.status,
        _event(member, method, outcome),
        outcome.code,
        fhir_id,
        outcome.version_id,
    )


def _event(member: Member, method: str, outcome: Outcome) -> str:
    if outcome.fate is not Fate.DONE:
        return "failed"
    if method == "DELETE" or not outcome.status.startswith("2"):
        return "deleted"
    if outcome.status == "201":
        return "created"
    if member.create_only:
        return "found"
    if outcome.version_id == member.version_id:
        return "unchanged"
    return "overwrote-edit" if member.overwrites else "changed"
