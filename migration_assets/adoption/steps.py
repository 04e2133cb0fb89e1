"""Steps from one phase to another: which are ordinary, and which want a reason (pure).

Belongs here: the order of the phases. Does not belong here: whether a gate is open (``gates``).

Dual writes are the guide's first phase, but only for whom services write: who has none goes from
rehearse straight to backfill, through the same gate. Nothing else may be left out.
"""

import enum

from migration_assets.adoption.standing import Phase, Standing, Strategy

_ORDER = tuple(Phase)


class Step(enum.Enum):
    """What a change of phase is."""

    NONE = "no step"
    NEXT = "the next step"
    JUMP = "a jump over a phase"
    BACK = "a step back"


def step(was: Phase, becomes: Phase) -> Step:
    """What kind of step leads from one phase to the other."""
    far = _ORDER.index(becomes) - _ORDER.index(was)
    if far < 0:
        return Step.BACK
    if far <= 1:
        return (Step.NONE, Step.NEXT)[far]
    without_dual_write = (was, becomes) == (Phase.REHEARSE, Phase.BACKFILL)
    return Step.NEXT if without_dual_write else Step.JUMP


def following(phase: Phase) -> tuple[Phase, ...]:
    """The phases that are an ordinary step away."""
    return tuple(each for each in _ORDER if step(phase, each) is Step.NEXT)


def hindrance(standing: Standing, becomes: Phase) -> str:
    """Why a phase cannot be entered as the type is declared, whatever is forced; empty if it can.

    Where others write as well a plain POST would make a second copy of what they wrote.
    """
    if becomes is Phase.DUAL_WRITE and standing.strategy is Strategy.EXCLUSIVE:
        return (
            'its strategy is "exclusive", which doubles what services write at the same time. '
            'Set it to "shared" in adoption.toml first.'
        )
    return ""
