"""How much may fail: in one run before a stream stands still, and of all there is (pure).

Belongs here: counting what a run saw and what failed, and when that is too much. Does not belong
here: pausing a stream (``pausing``).
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Threshold:
    """A stream is paused when both are reached: ``rate`` of what was seen, and ``count`` of them.

    The count is there for small streams and quiet days: of three changed rows two may well be bad.
    """

    rate: float = 0.5
    count: int = 100

    def reached(self, failed: int, seen: int) -> bool:
        """Whether that much may not go on."""
        return failed >= self.count and failed >= self.rate * seen


@dataclass(frozen=True)
class Tolerance:
    """How large a share of a type's rows may not have arrived, with nobody having accepted it.

    Beyond ``share`` its check fails; beyond ``gate`` its runs fail, and what rests on it does not
    start. Without a gate exceptions stop nothing: most often the rest had better arrive.
    """

    share: float = 0.01
    gate: float | None = None


class Tally:
    """What one run saw of each stream, and what failed of it, at each step, by reason."""

    def __init__(self) -> None:
        self._seen: Counter[tuple[str, str]] = Counter()
        self._failed: dict[tuple[str, str], Counter[str]] = {}

    def saw(self, stream: str, step: str, number: int) -> None:
        """So many more rows came to a step."""
        self._seen[stream, step] += number

    def failed(self, stream: str, step: str, reasons: Mapping[str, int]) -> None:
        """So many of them failed there."""
        self._failed.setdefault((stream, step), Counter()).update(reasons)

    def seen(self, stream: str, step: str) -> int:
        """How many rows came to a step."""
        return self._seen[stream, step]

    def reasons(self, stream: str, step: str) -> Mapping[str, int]:
        """How many failed at a step, by reason."""
        return self._failed.get((stream, step), Counter())
