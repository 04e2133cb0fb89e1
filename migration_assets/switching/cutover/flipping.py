"""Flip: the phase is changed through its gate and on record, and front ends are told.

Belongs here: a change of phase, and finding one again that was cut off. Does not belong here: the
gate (``adoption.gates``), or the change (``switching.changing``). The record comes first, then
adoption.toml, then the flags: whoever comes after a crash sees which of them is done.
"""

from datetime import datetime
from typing import Any

from migration_assets.adoption import Phase
from migration_assets.adoption.steps import Step
from migration_assets.counting import several
from migration_assets.manifest.switching import PhaseChange
from migration_assets.switching.changing import carry_out, move
from migration_assets.switching.cutover.asking import news
from migration_assets.switching.cutover.desk import Case
from migration_assets.switching.cutover.plan import Came, CutoverStep, Seen, done, waits
from migration_assets.switching.evidence import evidence

_REMEMBERED = 500
"""Changes of phase of a type that are looked through; its cohorts each have theirs."""


def flip(case: Case) -> Seen:
    """Hand the types over to Medplum, if nothing changed since they were verified."""
    told: dict[str, Any] = {}
    if case.phase is not Phase.WRITE:
        proved = case.standing.of(CutoverStep.VERIFY).last
        asked = news(case)
        landed = abs(asked.landings - int(proved.evidence["landings"])) if proved else 0
        written = case.part().last_write()
        if proved and written and written >= proved.began_at:
            return Seen(
                Came.BROKEN,
                "this tool wrote the types after all was proved (a redelivery, a repair, a new "
                "mapping). The freeze begins again",
                {"written_at": written.isoformat()},
            )
        if asked.rows or landed:
            return Seen(
                Came.BROKEN,
                f"{several(asked.rows + landed, 'row')} changed after all was proved: somebody "
                "still writes in the legacy system. The freeze begins again",
                {"news": asked.rows, "landed": landed},
            )
        shut = moved(case, Phase.WRITE)
        if shut is not None:
            return shut
    told |= {"phase_changes": on_record(case, Phase.WRITE)}
    told |= case.desk.publish(case.desk.adoption(), by=case.word.by)
    whose = "it" if case.cutover.cohort is None else f"cohort {case.cutover.cohort}"
    return done(f"Medplum owns {whose}, front ends are told", told)


def on_record(case: Case, phase: Phase) -> list[int]:
    """The records of the change; one that was cut off after the file said so is completed."""
    made = [each for kind in case.mapping.types for each in _changes(case, kind, phase)[:1]]
    cut_off = [each.id for each in made if each.applied_at is None]
    if cut_off:
        case.desk.manifest.switching.applied(cut_off)
    return [each.id for each in made]


def flipped_at(case: Case) -> datetime | None:
    """When the types were handed over in this cutover; None: they were not."""
    owned = case.phase is not Phase.READ  # cut off after the file said so
    found = [each for each in _changes(case, case.kind, Phase.WRITE) if owned or each.applied_at]
    return found[0].began_at if found else None


def _changes(case: Case, kind: str, phase: Phase) -> list[PhaseChange]:
    """Those to a phase since the cutover began, newest first."""
    return [
        each
        for each in case.desk.manifest.switching.changes(kind, limit=_REMEMBERED)
        if each.becomes == phase
        and each.cohort == case.cutover.cohort
        and each.began_at >= case.cutover.began_at
    ]


def moved(case: Case, becomes: Phase) -> Seen | None:
    """Move the types through their gate; what is waited for where it is shut."""
    desk, mapping, word = case.desk, case.mapping, case.word
    found = evidence(desk.witnesses(), mapping, case.cohort)
    asked = move(mapping, case.declared, becomes, found, desk.bounds, case.cohort)
    if asked.step is not Step.NEXT and not word.forced:
        return waits(
            f"{case.name} is in phase {asked.was} by now, from which {becomes} is "
            f"{asked.step.value}: somebody moved it; move it back, or --abort",
            {"phase": asked.was.value},
        )
    shut = [each for each in asked.points if not each.holds]
    if shut and not word.forced:
        said = "; ".join(f"{each.said} ({each.mend})" for each in shut)
        return waits(f"the gate of {asked.was} is shut: {said}", {"shut": len(shut)})
    reason = word.reason if shut else f"cutover {case.cutover.id}"
    carry_out(desk.manifest, desk.phases, asked, by=word.by, forced=bool(shut), reason=reason)
    return None
