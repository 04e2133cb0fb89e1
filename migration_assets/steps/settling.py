"""Settling: what Medplum's answers mean for the account of a unit (pure).

Belongs here: from a verdict and its answers to a disposition, attempts and targets. Does not
belong here: sending, or the SQL that keeps it.
"""

from migration_assets.manifest import Attempt, Settlement, State, Target
from migration_assets.medplum import NOT_WRITTEN, Answer, Delivered, Verdict
from migration_assets.steps.preparation import Prepared, member_token

_NOTHING_WRITTEN = frozenset({"unchanged", "found"})
_STATES = {Verdict.REFUSED: State.REJECTED, Verdict.HELD: State.QUARANTINED}


def settlement(prepared: Prepared, delivered: Delivered) -> Settlement:
    """The settlement of a unit whose submission has come to its end (not for OPEN ones).

    ``unchanged`` when every resource was found as we would have written it: nothing was written.
    """
    written = delivered.verdict is Verdict.WRITTEN
    wrote = any(answer.event not in _NOTHING_WRITTEN for answer in delivered.answers)
    state = _STATES.get(delivered.verdict, State.MIGRATED if wrote else State.UNCHANGED)
    if written and prepared.left_out:
        state = State.SKIPPED
    return Settlement(
        unit_id=prepared.unit.id,
        revision=prepared.unit.revision,
        state=state,
        reason=delivered.reason or prepared.left_out if written else delivered.reason,
        field=delivered.field,
        awaiting=prepared.awaiting if written else None,
        mapping_version=prepared.mapping_version,
        attempts=tuple(_attempt(each) for each in delivered.answers),
        targets=_written(prepared, delivered) if written else _doubted(delivered),
        borrowed=prepared.borrowed if written else (),
    )


def _written(prepared: Prepared, delivered: Delivered) -> tuple[Target, ...]:
    """What Medplum confirmed; and what was to be deleted and was searched for in vain."""
    answered = {member_token(each.member) for each in delivered.answers}
    absent = (
        Target(each.resource_type, name, deleted=True, as_of=prepared.unit.as_of)
        for each in prepared.submission.members
        if each.deletes and (name := member_token(each)) not in answered
    )
    return (*(_target(prepared, each) for each in delivered.answers), *absent)


def _doubted(delivered: Delivered) -> tuple[Target, ...]:
    """What is in Medplum although the submission did not end well.

    Half of a group that was sent apart was written, and is found by it later. Of what an edit or
    an incomplete rollback left, only the id is known: no row counts as unchanged against it. The
    others keep the prints of what was sent: their last version may be ours, unconfirmed.
    """
    here = {
        member_token(each.member): Target(
            each.member.resource_type,
            member_token(each.member),
            each.fhir_id,
            each.version_id,
            deleted=each.member.deletes,
        )
        for each in delivered.answers
        if each.event not in NOT_WRITTEN or each.event == "left-behind"
    }
    edited = {member_token(each.member) for each in delivered.answers if each.event == "edit-found"}
    for each in delivered.submission.members:
        name = member_token(each)
        if name in edited and not each.deletes and each.fhir_id is not None:
            here[name] = Target(each.resource_type, name, each.fhir_id, each.version_id)
    return tuple(each for each in here.values() if each.fhir_id is not None)


def _attempt(answer: Answer) -> Attempt:
    return Attempt(
        member_token(answer.member),
        answer.method,
        answer.bundle,
        answer.entry,
        answer.status,
        answer.event,
        answer.outcome,
        answer.fhir_id,
        answer.version_id,
    )


def _target(prepared: Prepared, answer: Answer) -> Target:
    name = member_token(answer.member)
    return Target(
        answer.member.resource_type,
        name,
        answer.fhir_id,
        answer.version_id,
        prepared.fingerprints.get(name),
        deleted=answer.member.deletes,
        as_of=prepared.unit.as_of,
        # What was found and left alone is somebody else's: what it refers to is not known.
        references=None
        if answer.member.deletes or (answer.member.create_only and answer.event == "found")
        else prepared.inventory(answer.member),
    )
