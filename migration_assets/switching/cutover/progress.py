"""Where a cutover stands, from the looks that were taken at it (pure).

Belongs here: which steps are over, which is next, since when it waits. Does not belong here: taking
a look. A freeze that turned out to be broken takes back every step before the flip.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from migration_assets.manifest.cutovers import Look
from migration_assets.switching.cutover.plan import Came, CutoverStep, Plan


@dataclass(frozen=True, kw_only=True)
class StepStands:
    """One step: what its looks came to."""

    step: CutoverStep
    looks: tuple[Look, ...] = ()

    @property
    def over(self) -> bool:
        """Whether the next step may begin."""
        return any(each.outcome == Came.DONE for each in self.looks)

    @property
    def last(self) -> Look | None:
        """The look that tells how it stands: that which ended it, else the newest."""
        ended = (each for each in self.looks if each.outcome == Came.DONE)
        return next(ended, self.looks[-1] if self.looks else None)

    @property
    def waits_since(self) -> datetime | None:
        """Since when it has been tried and is not over."""
        return self.looks[0].began_at if self.looks and not self.over else None


@dataclass(frozen=True)
class Standing:
    """Where a cutover stands."""

    steps: tuple[StepStands, ...]
    flipped: bool

    @property
    def due(self) -> CutoverStep | None:
        """The step to look at next; None when all are over."""
        return next((each.step for each in self.steps if not each.over), None)

    def of(self, step: CutoverStep) -> StepStands:
        """One of its steps."""
        return next(each for each in self.steps if each.step is step)


def standing(looks: Sequence[Look]) -> Standing:
    """Where the looks, oldest first, bring a cutover."""
    broken = [at for at, each in enumerate(looks) if each.outcome == Came.BROKEN]
    valid = looks[broken[-1] + 1 :] if broken else looks
    steps = tuple(
        StepStands(step=step, looks=tuple(each for each in valid if each.step == step))
        for step in CutoverStep
    )
    flip = next(each for each in steps if each.step is CutoverStep.FLIP)
    return Standing(steps, flip.over)


def quiet(polls: Sequence[Look]) -> list[Look]:
    """The last polls of a freeze in a row that found nothing; what could not be asked is none."""
    asked = [each for each in polls if each.outcome != Came.FAILED]
    noisy = [at for at, each in enumerate(asked) if not each.evidence.get("quiet")]
    return asked[noisy[-1] + 1 :] if noisy else asked


def too_early(stands: StepStands, plan: Plan, now: datetime) -> datetime | None:
    """When it is worth while to look again, if it is not now."""
    between = {
        CutoverStep.FREEZE: plan.between_polls,
        CutoverStep.OBSERVE: plan.between_looks,
    }.get(stands.step, timedelta(0))
    last = stands.looks[-1] if stands.looks else None
    if last is None or last.outcome != Came.WAITS:
        return None
    if stands.step is CutoverStep.FREEZE and not last.evidence.get("quiet"):
        return None  # nothing is gained by waiting before the first quiet one
    due = last.began_at + between
    return due if now < due else None


def worth_looking(stands: Standing, plan: Plan, now: datetime) -> bool:
    """Whether a look by nobody in particular can tell anything that is not known.

    Not while a signature is all that is missing, or its owner has an alarm to decide about.
    """
    if stands.due is None:
        return True
    step = stands.of(stands.due)
    last = step.looks[-1] if step.looks else None
    if last is None:
        return True
    unsigned = step.step is CutoverStep.VERIFY and last.evidence.get("findings") == 0
    return not unsigned and last.outcome != Came.ALARM and too_early(step, plan, now) is None
