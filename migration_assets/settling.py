"""Settling: what Medplum's answers mean for the account of a unit (pure).

Belongs here: from a verdict and its answers to a disposition, attempts and targets. Does not
belong here: sending, or the SQL that keeps it.
"""

from migration_assets.manifest import Attempt, Settlement, State, Target
from migration_assets.medplum import EDITED, GONE, Answer, Delivered, Verdict
from migration_assets.preparation import Prepared, member_token

_STATES = {Verdict.REFUSED: State.REJECTED, Verdict.HELD: State.QUARANTINED}


def settlement(prepared: Prepared, delivered: Delivered) -> Settlement:
    """The settlement of a unit whose submission has come to its end (not for OPEN ones).

    ``unchanged`` when every resource was found as we would have written it: nothing was written.
    """
    written = delivered.verdict is Verdict.WRITTEN
    wrote = any(answer.event != "unchanged" for answer in delivered.answers)
    state = _STATES.get(delivered.verdict, State.MIGRATED if wrote else State.UNCHANGED)
    if written and prepared.left_out:
        state = State.SKIPPED
    return Settlement(
        unit_id=prepared.unit.id,
        revision=prepared.unit.revision,
        state=state,
        reason=delivered.reason or prepared.left_out if written else delivered.reason,
        field=delivered.field,
        mapping_version=prepared.mapping_version,
        attempts=tuple(_attempt(each) for each in delivered.answers),
        targets=_written(prepared, delivered) if written else _doubted(delivered),
    )


def _written(prepared: Prepared, delivered: Delivered) -> tuple[Target, ...]:
    """What Medplum confirmed; and what was to be deleted and was searched for in vain."""
    answered = {member_token(each.member) for each in delivered.answers}
    absent = (
        Target(each.resource_type, name, deleted=True)
        for each in prepared.submission.members
        if each.body is None and (name := member_token(each)) not in answered
    )
    return (*(_target(prepared, each) for each in delivered.answers), *absent)


def _doubted(delivered: Delivered) -> tuple[Target, ...]:
    """Medplum holds something else than we believed: no row may count as unchanged against it."""
    if delivered.reason not in (EDITED, GONE):
        return ()
    return tuple(
        Target(each.resource_type, member_token(each), each.fhir_id, each.version_id)
        for each in delivered.submission.members
        if each.body is not None and each.fhir_id is not None
    )


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
        deleted=answer.member.body is None,
    )
