"""Whether a reading brought every row: what is counted, and when a window is read again.

Belongs here: the proofs. Does not belong here: reading a page (``reading``), drift that a pager
notices itself (``pagers``), or what follows from an absence (the caller).

What proves itself: one answer that held everything; pages found by the last row's own values, for
nothing that is deleted shifts them; an offset that overlaps in an order that does not change. Any
other paging is read until two passes agree on the keys. That they do proves that no row left while
the first pass was on its way, for such a row would be missing in the second; and in an order that
does not change only rows that leave shift others past a page's end (legacy-APIs study §4.4). In
one that changes it is the best evidence there is.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any, TypeAlias

from migration_assets.errors import Permanent, Transient
from migration_assets.legacy.attempts import Answer
from migration_assets.legacy.description import Stream
from migration_assets.legacy.description.paging import (
    KeysetPages,
    LinkHeader,
    NextUrl,
    NextUrlHeader,
    NumberedPages,
    OffsetPages,
    PagerDescription,
    SinglePage,
    TokenHeader,
    TokenPages,
    TotalHeader,
    Walk,
)
from migration_assets.legacy.pagers import number_in
from migration_assets.legacy.rows import ABSENT, PulledRow, value_at

_PASSING = frozenset({408, 425, 429})
_SERVER_ERRORS = range(500, 600)


def proves_itself(pager: PagerDescription) -> bool:
    """True if no row can slip from one page to another unseen."""
    match pager:
        case SinglePage() | KeysetPages() | Walk():
            return True
        case OffsetPages():
            return pager.overlap > 0 and pager.order == "fixed"
        case NextUrl() | NextUrlHeader() | LinkHeader() | TokenPages() | TokenHeader():
            return pager.keyset
        case _:
            return False


class Tally:
    """What one reading of a window brought, counted as it comes: eight bytes for a row."""

    def __init__(self, stream: Stream, *, whole: bool, filtered: bool, where: str) -> None:
        self._stream, self._whole, self._where = stream, whole, where
        self._source = _total_of(stream)
        # Filtered, some sources still count every row; newest first, a row that is changed unseen
        # is one for the next pull.
        newest_first = getattr(stream.pager, "order", None) == "change_time_descending"
        self._compares = self._source is not None and (whole or not (filtered or newest_first))
        self._counts = whole or self._compares
        self._hashes, self._keyless = array("q"), 0
        self._totals: list[int] = []
        self._pages = self._rows = 0

    def page(self, rows: Sequence[PulledRow], answer: Answer) -> int | None:
        """Count a page's rows that no page had before, and return the total it tells.

        Raises:
            Permanent: the total is not where it is described, or the page proves nothing.
            Transient: the page proves nothing today.
        """
        if self._whole and answer.skipped:
            raise self._no_proof(answer.status)
        self._pages += 1
        total = None
        if self._source is not None and not answer.skipped:
            total = self._total(answer)
        if self._counts:
            self._rows += len(rows)
            keys = [row.key for row in rows if row.key is not None]
            self._keyless += len(rows) - len(keys)
            self._hashes.extend(map(hash, keys))
            if total is not None:
                self._totals.append(total)
        return total

    def finished(self) -> "Reading":
        """The sum; the tally is at its end."""
        keys = each_once(self._hashes)
        self._hashes = array("q")
        pager, totals = self._stream.pager, self._totals
        # The first page of a walk counts all rows, the others what is left. A row that is deleted
        # meanwhile is missing from it: worth another pass of a sweep, not of a first pull of hours.
        counted = 0 if isinstance(pager, Walk) and self._whole else -1
        total = totals[counted] if totals else None
        distinct = len(keys) + self._keyless
        proven = self._pages == 1 or proves_itself(pager)
        if getattr(pager, "order", None) == "fixed" and set(totals) == {distinct}:
            proven = True
        return Reading(
            keys,
            self._keyless,
            distinct if isinstance(pager, Walk) else self._rows,  # it reads rows at an edge twice
            total if self._compares else None,
            shrank=not proves_itself(pager) and any(one > two for one, two in pairwise(totals)),
            proven=proven,
        )

    def _total(self, answer: Answer) -> int | None:
        source = self._source
        if isinstance(source, TotalHeader):
            found: Any = answer.headers.get(source.header, ABSENT)
            place = f"header {source.header}"
        else:
            place = source or "$"
            found = value_at(answer.body, place)
        if found is ABSENT and self._pages > 1:
            return None
        total = number_in(found)
        if total is None:
            raise Permanent(f"{self._where}: total: there is no number at {place} in the answer")
        return total

    def _no_proof(self, status: int) -> Permanent | Transient:
        text = (
            f"{self._where}: it answered {status}, which on_status skips: what else would have "
            "come is not known, so that nothing is concluded from it"
        )
        if status in _PASSING or status in _SERVER_ERRORS:
            return Transient(text)
        return Permanent(f"{text}; is there an answer for «no rows» that is not an error?")


@dataclass(frozen=True)
class Reading:
    """What a finished reading brought: its keys (hashed), rows without one, and all rows.

    ``total`` is the source's own count where it may be compared. ``shrank``: it became smaller
    while rows that left shift others. ``proven``: paging shows that no row slipped past.
    """

    keys: "array[int]"
    keyless: int
    rows: int
    total: int | None
    shrank: bool
    proven: bool

    def is_complete(self, *, whole: bool) -> bool:
        """True if nothing speaks against it; for a ``whole`` one paging must speak for it."""
        return not self.missing and (self.proven if whole else not self.shrank)

    @property
    def missing(self) -> int:
        """How many rows fewer than the source counts, each key once."""
        return max(0, (self.total or 0) - len(self.keys) - self.keyless)

    def agrees_with(self, other: "Reading | None") -> bool:
        """True if both brought the same keys, and as many rows as the source counts.

        A source may list a row twice: that is no row too few, if it does so every time.
        """
        if other is None or self.rows < (self.total or 0):
            return False
        return self.keyless == other.keyless and self.keys == other.keys

    def has(self, key: str | None) -> bool:
        """True if a row with this key came."""
        wanted = hash(key)
        place = bisect_left(self.keys, wanted)
        return key is not None and place < len(self.keys) and self.keys[place] == wanted


_TotalSource: TypeAlias = str | TotalHeader | None


def _total_of(stream: Stream) -> _TotalSource:
    if stream.total is not None:
        return stream.total
    pager = stream.pager.within_tie if isinstance(stream.pager, Walk) else stream.pager
    return pager.total if isinstance(pager, NumberedPages | OffsetPages) else None


def each_once(hashes: Iterable[int]) -> "array[int]":
    """In order, each once."""
    return array("q", (value for value, _ in groupby(sorted(hashes))))
