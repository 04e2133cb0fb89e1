"""What a page shows that does not go together with its description, as sentences.

Belongs here: what was seen, as a value, and the comparison. Does not belong here: seeing it
(``inspection``). Every sentence says what would be lost if it is not chance.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from migration_assets.legacy.description import Cursor, Stream
from migration_assets.legacy.description.paging import (
    NumberedPages,
    OffsetPages,
    SinglePage,
    Walk,
)

_WORTH_A_VERDICT = 5  # different times in a row are not in order by chance (1 in 60)
_CLOCKS_DIFFER = 60  # seconds; less does no harm, as marks follow the source's clock
_SECONDS = {"days": 86_400, "hours": 3_600, "minutes": 60, "seconds": 1, "milliseconds": 0.001}


@dataclass(frozen=True)
class Zone:
    """What times without a zone allow: the offsets from UTC that date none in the future.

    ``at_least`` is the least of them, None if every offset will do. ``contradicts`` if the declared
    zone dates some in the future.
    """

    rows: int
    declared: str | None
    possible: tuple[str, ...]
    at_least: str | None
    contradicts: bool


@dataclass(frozen=True)
class Seen:
    """What the first page of a stream shows; None where it does not show it.

    ``asked`` is the page size the description asks for, ``served`` the rows that came; ``more`` if
    others follow. ``order`` is that of the change times: ascending, descending or none; ``by_id``
    that of the keys. ``tied`` rows share their change time with another, ``largest_tie`` of them
    one and the same. ``precision`` is the unit all times are whole numbers of. ``skew`` is how many
    seconds the source's clock is ahead of ours; None if it names no time.
    """

    asked: int | None
    served: int
    more: bool | None
    total: int | None
    field: str | None
    order: str | None
    by_id: str | None
    tied: int
    largest_tie: int
    without_id: int
    repeated_ids: int
    unreadable_times: int
    in_the_future: int
    precision: str | None
    zone: Zone | None
    skew: float | None
    warnings: tuple[str, ...]


def warnings_of(stream: Stream, seen: Seen, *, different: int) -> Iterator[str]:
    """What to look at; ``different`` is how many change times there are."""
    yield from _of_order(stream, seen, different)
    yield from _of_size(stream, seen)
    if stream.cursor is not None:
        yield from _of_time(stream.cursor, seen)
    if seen.repeated_ids:
        yield f"{_rows(seen.repeated_ids)} with the key of another: is id the whole key?"
    if seen.skew is not None and abs(seen.skew) > _CLOCKS_DIFFER:
        yield (
            f"the source's clock and ours are {abs(seen.skew):,.0f} s apart: marks follow the "
            "source's, tokens expire by ours; set the wrong one"
        )


def _of_order(stream: Stream, seen: Seen, different: int) -> Iterator[str]:
    pager, by_time = stream.pager, seen.order in ("ascending", "descending")
    if isinstance(pager, Walk) and seen.order in ("descending", "none"):
        yield f"a walk needs rows ascending by {seen.field}, and they are not: some are skipped"
    declared = pager.order if isinstance(pager, NumberedPages | OffsetPages) else None
    sorted_by_time = by_time and different >= _WORTH_A_VERDICT and seen.by_id in (None, "none")
    if declared == "fixed" and sorted_by_time:
        yield (
            f"order: fixed is declared, but rows come {seen.order} by {seen.field}: unless none "
            "was ever changed, one that changes while we read moves, and another is lost"
        )
    if declared == "change_time_descending" and seen.order == "ascending":
        yield f"rows come ascending by {seen.field}, not descending: offsets lose rows; use a walk"
    if seen.largest_tie and seen.largest_tie == seen.served and seen.more is not False:
        yield (
            f"all rows of the page share one {seen.field}: a walk must page inside it (within_tie) "
            "or rows of a larger tie are lost"
        )


def _of_size(stream: Stream, seen: Seen) -> Iterator[str]:
    pager = stream.pager.within_tie if isinstance(stream.pager, Walk) else stream.pager
    capped = seen.asked is not None and seen.served < seen.asked and seen.more is True
    if capped and getattr(pager, "short_page_ends", False):
        yield (
            f"the source gives {seen.served} of {seen.asked} rows asked for and has more: with "
            "short_page_ends every page but the first is lost; remove it, or ask for fewer"
        )
    if isinstance(pager, SinglePage) and seen.more:
        yield "the source has more rows than came, and no pager asks for them: they are lost"
    if seen.total is None:
        return
    if seen.total < seen.served:
        yield f"a total of {seen.total:,} is announced, fewer than came: do not rely on it"
    elif seen.total == seen.served == seen.asked:
        yield (
            "the total is exactly the page's size: if it counts the page, pager.total ends every "
            "pull after its first page"
        )


def _of_time(cursor: Cursor, seen: Seen) -> Iterator[str]:
    zone = seen.zone
    if zone is not None and zone.contradicts:
        yield (
            f"{cursor.field} carries no zone, and read in {zone.declared} it lies in the future: "
            f"the zone is {zone.at_least or 'another'} or east of it; in the wrong one changes "
            "are lost or read late"
        )
    elif zone is not None and zone.declared is None:
        yield (
            f"{cursor.field} carries no zone, and none is declared: such rows are marked, not "
            "guessed at; ask the vendor, then say cursor.tz"
        )
    elif seen.in_the_future:
        yield (
            f"{_rows(seen.in_the_future)} changed in the future by the source's clock, to be read "
            "again until then: is the zone right?"
        )
    unit = _SECONDS.get(seen.precision or "", 0)
    if unit > cursor.precision_seconds:
        yield (
            f"every {cursor.field} is whole {seen.precision}: if the source keeps no finer time, "
            f"say precision_seconds: {unit}, or changes of the same {(seen.precision or '')[:-1]} "
            "may be lost"
        )


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"
