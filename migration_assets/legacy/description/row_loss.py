"""Which ways of paging lose rows while people work, told when a description is loaded.

Belongs here: the rules of the legacy-APIs study, page drift, as sentences. Does not belong here:
what a page is (``paging``), or noticing drift while reading (``legacy.pagers``).
"""

from migration_assets.legacy.description.change_time import Cursor
from migration_assets.legacy.description.paging import (
    NumberedPages,
    OffsetPages,
    PagerDescription,
    Walk,
)

_HIDDEN_BY_A_DELETION = (
    "pager: with the newest rows first a deletion while we read hides a row for good; "
    "say sweep: true if the stream is also read in full regularly"
)


def loss_by_paging(pager: PagerDescription, cursor: Cursor | None, *, sweep: bool) -> str | None:
    """What would be lost, and what to write instead; None if nothing is lost for good.

    Without a cursor every pull reads everything, so that the next one finds what one missed.
    """
    if isinstance(pager, Walk):
        return _loss_by_walking(cursor)
    if cursor is None or not isinstance(pager, NumberedPages | OffsetPages):
        return None
    if pager.order == "change_time":
        return (
            "pager: page numbers or offsets over rows sorted by change time lose rows: one that is "
            "changed while we read moves to the end and pulls the next page's first row into the "
            "page just read; use type: walk"
        )
    overlaps = isinstance(pager, OffsetPages) and pager.overlap > 0
    if pager.order == "fixed" or pager.accepted_loss or overlaps:
        return None
    if pager.order == "change_time_descending":
        return None if sweep else _HIDDEN_BY_A_DELETION
    return (
        "pager: rows in an order that may change slip from one page to another while we read, and "
        "are lost until they change again; sort by an id or the time of creation and say "
        "order: fixed, or give an offset an overlap, or say accepted_loss: and why"
    )


def _loss_by_walking(cursor: Cursor | None) -> str | None:
    if cursor is None or cursor.param is None:
        return "pager: a walk asks for what changed since a time: it needs cursor.param"
    if cursor.cap is not None:
        return "cursor.cap: a walk asks anew for every page, so that no cap is reached: remove it"
    if not cursor.inclusive:
        return (
            "pager: a walk needs a lower filter that includes equality (inclusive: true): "
            "of several rows at one instant those on the next page would be lost"
        )
    return None
