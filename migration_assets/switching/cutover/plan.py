"""The words of a cutover: its steps, what a look comes to, what is declared before it (pure).

Belongs here: names, and the plan that stands from the first step to the last. Does not belong here:
how far one got (``progress``).
"""

import enum
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any, Self

_LOOKS = 100


class CutoverStep(enum.StrEnum):
    """What is done, in this order."""

    FREEZE = "freeze"
    DRAIN = "drain"
    FINAL_DELTA = "final_delta"
    VERIFY = "verify"
    FLIP = "flip"
    OBSERVE = "observe"
    RETIRE = "retire"


ROLLBACK = "rollback"
"""What a look at the way back is called; it is no step of the way on."""

ABOUT = {
    CutoverStep.FREEZE: "nothing changes in the legacy system any more",
    CutoverStep.DRAIN: "nothing that arrived is still to be delivered",
    CutoverStep.FINAL_DELTA: "the last pull, and a sweep for what was deleted",
    CutoverStep.VERIFY: "Medplum holds it all, and somebody signed for that",
    CutoverStep.FLIP: "front ends write to Medplum, the puller overwrites nothing",
    CutoverStep.OBSERVE: "for the declared time no trigger of a rollback",
    CutoverStep.RETIRE: "the legacy system is out of use, the evidence is kept",
}


class Came(enum.StrEnum):
    """What a look came to."""

    DONE = "done"
    WAITS = "waits"
    ALARM = "alarm"
    """A trigger of a rollback: its owner decides."""
    BROKEN = "broken"
    """The freeze does not hold: begin again with it."""
    FAILED = "failed"
    """It could not be looked."""


class End(enum.StrEnum):
    """How a cutover ends."""

    RETIRED = "retired"
    ABORTED = "aborted"
    ROLLED_BACK = "rolled_back"


TRIGGERS: Mapping[str, str] = {
    "legacy-edits": "a row is edited in the legacy system after the flip",
    "overwritten": "this tool wrote the type after the flip",
    "not-taken-back": "the legacy system refuses what was written in Medplum, or has it otherwise",
    "exceptions": "more rows did not arrive than MIGRATION_EXCEPTIONS_SHARE lets pass",
}
"""What calls for a decision about a rollback; declared before a cutover begins."""


AFTERWARDS = (
    "revoke the credentials of the legacy API, and take them out of the settings",
    "keep the report with those who signed it",
    "set MIGRATION_RETENTION and run `migration purge`: landed rows are patient data",
    "turn off the sensor and the schedules when the last type is retired",
)
"""What people do when a type is retired."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is declared before a cutover begins; later settings change nothing of it.

    ``owner`` decides about a rollback. ``sample`` 0: all content is compared. ``part``: which rows
    were meant when it began; empty where the type had no cohorts.
    """

    owner: str
    polls: int = 3
    quiet_seconds: int = 600
    observe_seconds: int = 7 * 24 * 3600
    sample: int = 0
    exceptions_share: float = 0.01
    triggers: tuple[str, ...] = field(default=tuple(TRIGGERS))
    part: str = ""

    @property
    def between_polls(self) -> timedelta:
        """How far apart quiet polls are to be: closer ones prove nothing more."""
        return timedelta(seconds=self.quiet_seconds / max(1, self.polls - 1))

    @property
    def between_looks(self) -> timedelta:
        """How far apart the looks of the observation are."""
        return timedelta(seconds=self.observe_seconds / _LOOKS)

    def as_json(self) -> dict[str, Any]:
        """As it is kept."""
        return asdict(self)

    @classmethod
    def read(cls, kept: Mapping[str, Any]) -> Self:
        """As it was kept."""
        return cls(**{**kept, "triggers": tuple(kept["triggers"])})


@dataclass(frozen=True)
class Seen:
    """What one look at a step came to: in a word, in a sentence, in numbers."""

    came: Came
    said: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


def done(said: str, evidence: Mapping[str, Any]) -> Seen:
    """The step is over."""
    return Seen(Came.DONE, said, evidence)


def waits(said: str, evidence: Mapping[str, Any]) -> Seen:
    """The step is not over; ``said`` tells what is waited for, and who can do what about it."""
    return Seen(Came.WAITS, said, evidence)
