"""The runbook: begin a cutover, advance it as far as it goes, abort it, go back.

Belongs here: the order, what is written down around each look, and what is refused. Does not belong
here: a step. One process at a time advances a cutover; a run that is killed in a look leaves one
without an end, which counts for nothing.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from migration_assets.adoption import Phase
from migration_assets.adoption import Standing as Declared
from migration_assets.errors import Busy, MigrationError, Permanent
from migration_assets.manifest import Lease, Manifest
from migration_assets.manifest.cutovers import Cutover
from migration_assets.mapping import Mapping
from migration_assets.switching.cutover.desk import Case, Desk, Word, rows_meant
from migration_assets.switching.cutover.draining import drain, final_delta
from migration_assets.switching.cutover.flipping import flip, flipped_at
from migration_assets.switching.cutover.freezing import freeze
from migration_assets.switching.cutover.observing import observe
from migration_assets.switching.cutover.plan import (
    ROLLBACK,
    Came,
    CutoverStep,
    End,
    Plan,
    Seen,
    waits,
)
from migration_assets.switching.cutover.progress import Standing, standing, too_early
from migration_assets.switching.cutover.retiring import retire
from migration_assets.switching.cutover.rolling_back import roll_back
from migration_assets.switching.cutover.verifying import verify

_STEPS: dict[CutoverStep, Callable[[Case], Seen]] = {
    CutoverStep.FREEZE: freeze,
    CutoverStep.DRAIN: drain,
    CutoverStep.FINAL_DELTA: final_delta,
    CutoverStep.VERIFY: verify,
    CutoverStep.FLIP: flip,
    CutoverStep.OBSERVE: observe,
    CutoverStep.RETIRE: retire,
}
_BEFORE = frozenset(list(CutoverStep)[:4])
"""Steps that need the puller: in phase read alone."""


def begin(
    desk: Desk, mapping: Mapping[Any], plan: Plan, *, by: str, cohort: str | None = None
) -> Cutover:
    """Begin a cutover of a mapping's types, or of one cohort; what is declared stands from here on.

    Of types with cohorts, without one, that is cut over which is in none: as phases are moved.

    Raises:
        Permanent: one is under way, or what is meant is not in phase read, or not declared; nobody
            owns the rollback.
    """
    kind, declared = mapping.resource_type, desk.adoption().standing(mapping.resource_type)
    plan = replace(plan, part=rows_meant(declared, cohort))
    phase = declared.of(declared.cohort(cohort) if cohort else None).phase
    if phase is not Phase.READ:
        raise Permanent(
            f"A cutover begins in phase read, and {_which(declared, kind, cohort)} is in {phase}. "
            f"`migration phase {kind}` says what it takes."
        )
    if not plan.owner.strip():
        which = _which(declared, kind, cohort)
        raise Permanent(f"Say who decides about a rollback of {which}: --owner.")
    return desk.manifest.cutovers.begin(kind, plan.as_json(), by=by, cohort=cohort)


def _which(declared: Declared, kind: str, cohort: str | None) -> str:
    """What is meant; where a type has cohorts and none is named, which could be."""
    if cohort is not None:
        return f"cohort {cohort} of {kind}"
    others = ", ".join(f"--cohort {each.name}: {each.phase}" for each in declared.cohorts)
    return f"what is in no cohort of {kind} ({others})" if others else kind


def advance(
    desk: Desk,
    mapping: Mapping[Any],
    cutover: Cutover,
    word: Word,
    *,
    only: CutoverStep | None = None,
) -> Iterator[tuple[CutoverStep, Seen]]:
    """Look at the step that is due, and at the next if it is over; ends where one must wait.

    ``only`` that step, if it is due. A word that forces does so for the first step alone.

    Raises:
        Transient, Permanent: a step could not be looked at; that is on account, too.
    """
    with desk.manifest.lease(f"cutover of {cutover.name}", word.by) as lease:
        _refuse_ended(desk.manifest, cutover)
        while True:
            case = case_of(desk, mapping, cutover, word)
            step = case.standing.due
            if step is None:
                desk.manifest.cutovers.end(cutover.id, End.RETIRED, by=word.by)
                return
            if only not in (None, step):
                return
            seen = _looked(case, step, lease)
            yield step, seen
            if seen.came is not Came.DONE:
                return
            word = Word(by=word.by, approved_by=word.approved_by)


def abort(desk: Desk, mapping: Mapping[Any], cutover: Cutover, word: Word) -> None:
    """End a cutover before its flip; the phase stays what it was.

    Raises:
        Permanent: it was flipped, or no reason is given.
    """
    _refuse_unreasoned(word)
    with desk.manifest.lease(f"cutover of {cutover.name}", word.by):
        _refuse_ended(desk.manifest, cutover)
        case = case_of(desk, mapping, cutover, word)
        declared = case.declared.cohort(cutover.cohort) if cutover.cohort else case.declared
        owned = declared is not None and declared.phase in {Phase.WRITE, Phase.RETIRED}
        if case.standing.flipped or owned:
            raise Permanent(
                f"{case.name} is flipped: aborting would leave it between both systems. Go on, or "
                "--rollback."
            )
        desk.manifest.cutovers.end(cutover.id, End.ABORTED, by=word.by, reason=word.reason)


def back(desk: Desk, mapping: Mapping[Any], cutover: Cutover, word: Word) -> Seen:
    """Roll back after the flip; the cutover ends when nothing is left to do.

    Raises:
        Transient, Permanent: as ``rolling_back.roll_back``; or no reason is given.
    """
    _refuse_unreasoned(word)
    with desk.manifest.lease(f"cutover of {cutover.name}", word.by):
        _refuse_ended(desk.manifest, cutover)
        case = case_of(desk, mapping, cutover, word)
        seen = _kept(case, ROLLBACK, lambda: roll_back(case))
        if seen.came is Came.DONE:
            desk.manifest.cutovers.end(cutover.id, End.ROLLED_BACK, by=word.by, reason=word.reason)
        return seen


def case_of(desk: Desk, mapping: Mapping[Any], cutover: Cutover, word: Word) -> Case:
    """A cutover as it stands now."""
    return Case(
        desk=desk,
        mapping=mapping,
        cutover=cutover,
        plan=Plan.read(cutover.plan),
        standing=stands(desk.manifest, cutover),
        word=word,
    )


def stands(manifest: Manifest, cutover: Cutover) -> Standing:
    """Where a cutover stands."""
    return standing(manifest.cutovers.looks(cutover.id))


def _looked(case: Case, step: CutoverStep, lease: Lease) -> Seen:
    """Take a look, unless it is too early for one that would tell anything."""
    if step in _BEFORE and case.phase is not Phase.READ:
        raise Permanent(
            f"{case.name} is in phase {case.phase} by now, and its cutover was begun in read: "
            "--abort, or move it back."
            + (" It was flipped." if flipped_at(case) is not None else "")
        )
    later = too_early(case.standing.of(step), case.plan, case.desk.clock())
    last = case.standing.of(step).last
    if later is not None and last is not None and not case.word.forced:
        return waits(f"{last.said}; the next look is due at {later:%H:%M:%S} UTC", last.evidence)
    case.desk.manifest.renew(lease)
    return _kept(case, step, lambda: _STEPS[step](case))


def _kept(case: Case, step: str, look: Callable[[], Seen]) -> Seen:
    """Take a look, with what it came to written down."""
    record = case.desk.manifest.cutovers
    number = record.look(case.cutover.id, step, by=case.word.by)
    try:
        seen = look()
    except Busy as busy:
        seen = waits(str(busy), {})
    except MigrationError as error:
        record.looked(number, Came.FAILED, str(error), {})
        raise
    record.looked(number, seen.came, seen.said, seen.evidence)
    return seen


def _refuse_ended(manifest: Manifest, cutover: Cutover) -> None:
    """Somebody else may have ended it while we waited for the lease."""
    if all(each.id != cutover.id for each in manifest.cutovers.under_way(cutover.resource_type)):
        raise Permanent(f"The cutover of {cutover.name} has ended meanwhile.")


def _refuse_unreasoned(word: Word) -> None:
    if not (word.reason or "").strip():
        raise Permanent('Ending a cutover needs a reason, which is kept: --reason "…".')
