"""One field of a stream: its tally while rows pass, and its profile at the end.

Belongs here: counting the values of one path, in memory that the rows do not grow. Does not belong
here: judging one value (``sentinels``, ``texts``, ``dates``) or what is remarkable (``remarks``).
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from migration_assets.profiling.dates import moment_of, speaks_of_time
from migration_assets.profiling.disclosure import (
    LONGEST_CODE,
    MOST_CODES,
    codes_shown,
    dates_a_life,
    extreme_shown,
)
from migration_assets.profiling.distinct import DistinctSample
from migration_assets.profiling.moments import Dates, MomentTally
from migration_assets.profiling.places import last_name
from migration_assets.profiling.sentinels import sentinel
from migration_assets.profiling.texts import flaws_of, shape_of

_SHAPES_KEPT = 300
_SHAPES_SHOWN = 8
_SCALARS = ("text", "integer", "number", "boolean")
_LARGEST_EXACT = 2**53


@dataclass(frozen=True, kw_only=True)
class FieldProfile:
    """What a field is like; counts of values.

    ``objects`` are the objects it could have been in; ``missing`` had no such field. None for the
    items of a list. ``kinds`` are JSON's types. ``filled`` values are neither null, blank, empty
    nor a sentinel; ``doubtful`` ones may be sentinels, and count as filled. ``distinct`` and
    ``repeated`` are of scalars that are not blank, and estimates unless ``distinct_exact``.
    ``codes`` and extremes only as ``disclosure`` lets them. ``lengths`` of texts by the power of
    two they reach; ``items`` are the shortest and longest list.
    """

    path: str
    objects: int | None
    missing: int | None
    kinds: dict[str, int]
    blanks: int
    sentinels: dict[str, int]
    doubtful: dict[str, int]
    filled: int
    distinct: int
    repeated: int
    distinct_exact: bool
    codes: dict[str, int]
    shapes: dict[str, int]
    least: str | None
    greatest: str | None
    numerals: int
    lengths: dict[int, int]
    shortest: int | None
    longest: int | None
    items: tuple[int, int] | None
    dates: Dates | None
    flaws: dict[str, int]

    @property
    def present(self) -> int:
        """Values of any kind, null included."""
        return sum(self.kinds.values())

    @property
    def nulls(self) -> int:
        """Values that are null."""
        return self.kinds.get("null", 0)

    @property
    def filled_share(self) -> float:
        """Share of the objects (of a list's items) in which the field says something."""
        of = self.present if self.objects is None else self.objects
        return self.filled / of if of else 0.0

    @property
    def is_unique(self) -> bool:
        """Whether it is in every object, and no value was seen twice: a key, perhaps."""
        scalars = sum(self.kinds.get(kind, 0) for kind in _SCALARS) - self.blanks
        every = self.objects is not None and scalars == self.objects
        return every and scalars > 1 and not self.repeated and not self.sentinels


class FieldTally:
    """Counts the values of one path."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._name = last_name(path)
        self.kinds: Counter[str] = Counter()
        self._blanks = self._empty = self._numerals = 0
        self._sentinels: Counter[str] = Counter()
        self._doubtful: Counter[str] = Counter()
        self._distinct = DistinctSample()
        self._codes: Counter[str] | None = Counter()
        self._shapes: Counter[str] = Counter()
        self._lengths: Counter[int] = Counter()
        self._flaws: Counter[str] = Counter()
        self._texts: tuple[int, int] | None = None
        self._items: tuple[int, int] | None = None
        self._numbers: tuple[float, float] | None = None
        self._moments = MomentTally()

    def add(self, kind: str, values: Iterable[tuple[Any, int]]) -> None:
        """Note different values of one kind, each with how often it occurs."""
        for value, count in values:
            self.kinds[kind] += count
            if kind in _SCALARS:
                self._scalar(kind, value, count)
            elif kind == "not-a-number":
                self._sentinels["not a number"] += count
            elif kind in ("list", "object"):
                self._empty += 0 if value else count
                if kind == "list":
                    self._items = _widened(self._items, len(value))

    def _scalar(self, kind: str, value: Any, count: int) -> None:
        if kind == "text":
            self._text(value, count)
            if not value.strip():
                self._blanks += count
                return
        self._distinct.add(kind, value, count)
        self._code(str(value).lower() if kind == "boolean" else value, count)
        stands_for_nothing = sentinel(value)
        if stands_for_nothing is not None:
            counts = self._sentinels if stands_for_nothing.sure else self._doubtful
            counts[stands_for_nothing.name] += count
            if stands_for_nothing.sure:
                return
        if kind in ("integer", "number") and abs(value) <= _LARGEST_EXACT:
            self._numbers = _widened(self._numbers, value)
        moment = moment_of(value)
        if moment is not None:
            self._moments.add(moment, count)

    def _text(self, text: str, count: int) -> None:
        length = len(text)
        self._texts = _widened(self._texts, length)
        self._lengths[length.bit_length()] += count
        for flaw in flaws_of(text):
            self._flaws[flaw] += count
        shape = shape_of(text)
        if shape in self._shapes or len(self._shapes) < _SHAPES_KEPT:
            self._shapes[shape] += count
        self._numerals += count if _is_numeral(text) else 0

    def _code(self, value: Any, count: int) -> None:
        if self._codes is None or isinstance(value, float):
            return
        code = value if isinstance(value, str) else str(value) if abs(value) < MOST_CODES else ""
        if not code or len(code) > LONGEST_CODE or not code.isprintable():
            self._codes = None
            return
        self._codes[code] += count
        if len(self._codes) > MOST_CODES:
            self._codes = None

    def profile(self, objects: int | None) -> FieldProfile:
        """What was counted; ``objects`` are those the field could have been in."""
        present, nulls = self.kinds.total(), self.kinds["null"]
        filled = present - nulls - self._blanks - self._empty - self._sentinels.total()
        scalars = sum(self.kinds[kind] for kind in _SCALARS)
        sound = scalars - self._blanks - self._sentinels.total() + self._sentinels["not a number"]
        dates = self._moments.told(
            sound, by_name=speaks_of_time(self._name), years_only=dates_a_life(self._name)
        )
        numbers = None if dates else self._numbers
        unique = not self._distinct.repeated
        return FieldProfile(
            path=self._path,
            objects=objects,
            missing=None if objects is None else objects - present,
            kinds=dict(self.kinds.most_common()),
            blanks=self._blanks,
            sentinels=dict(self._sentinels.most_common()),
            doubtful=dict(self._doubtful.most_common()),
            filled=filled,
            distinct=self._distinct.distinct,
            repeated=self._distinct.repeated,
            distinct_exact=self._distinct.exact,
            codes={} if dates else codes_shown(self._name, self._codes),
            shapes=dict(self._shapes.most_common(_SHAPES_SHOWN)),
            least=numbers and extreme_shown(self._name, numbers[0], unique=unique),
            greatest=numbers and extreme_shown(self._name, numbers[1], unique=unique),
            numerals=self._numerals,
            lengths=dict(sorted(self._lengths.items())),
            shortest=self._texts and int(self._texts[0]),
            longest=self._texts and int(self._texts[1]),
            items=self._items,
            dates=dates,
            flaws=dict(self._flaws.most_common()),
        )


def _widened(known: tuple[Any, Any] | None, value: Any) -> tuple[Any, Any]:
    return (value, value) if known is None else (min(known[0], value), max(known[1], value))


def _is_numeral(text: str) -> bool:
    sign_off = text.strip().removeprefix("-").replace(".", "", 1)
    return sign_off.isascii() and sign_off.isdigit()
