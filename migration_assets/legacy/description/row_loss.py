"""Which ways of paging lose rows while people work, told when a description is loaded.

Belongs here: the rules of the legacy-APIs study, page drift, as sentences. Does not belong here:
what a page is (``paging``), or noticing drift while reading (``legacy.pagers``).
"""

from migration_assets.legacy.description.change_time import Cursor
from migration_assets.legacy.description.paging import (
    LinkHeader,
    NextUrl,
    NextUrlHeader,
    NumberedPages,
    OffsetPages,
    PagerDescription,
    TokenHeader,
    TokenPages,
    Walk,
)

_IN_ORDER_OF_CHANGE = (
    "pager: page numbers or offsets over rows sorted by change time lose rows: one that is "
    "changed while we read moves to the end and pulls the next page's first row into the "
    "page just read; use type: walk"
)
_IN_ANY_ORDER = (
    "pager: rows in an order that may change slip from one page to another while we read, and "
    "are lost until they change again; give an offset an overlap, or sort by an id or the time of "
    "creation and say order: fixed with sweep: true, or say accepted_loss: and why"
)
_HIDDEN_BY_A_DELETION = (
    "pager: with the newest rows first a deletion while we read hides a row for good; "
    "say sweep: true if the stream is also read in full regularly"
)
_PULLED_BACK = (
    "pager: a row that is deleted while we read, or leaves the window by a change, pulls the next "
    "page's first row into the page just read, and that one is lost for good; give an offset an "
    "overlap, or say sweep: true if the stream is also read in full regularly"
)
_MAY_COUNT_ROWS = (
    "pager: an address or token of the next page may just count rows, and then a row that is "
    "deleted while we read hides another for good; say keyset: true if it names the last row, or "
    "sweep: true if the stream is also read in full regularly"
)


def loss_by_paging(pager: PagerDescription, cursor: Cursor | None, *, sweep: bool) -> str | None:
    """What would be lost, and what to write instead; None if nothing is lost for good.

    Without a cursor every pull reads everything, so that the next one finds what one missed.
    """
    match pager:
        case Walk():
            return _loss_by_walking(cursor)
        case NumberedPages() | OffsetPages() if cursor is not None:
            return _loss_by_counting(pager, sweep=sweep)
        case NextUrl() | NextUrlHeader() | LinkHeader() | TokenPages() | TokenHeader():
            return None if cursor is None or pager.keyset or sweep else _MAY_COUNT_ROWS
        case _:
            return None


def _loss_by_counting(pager: NumberedPages | OffsetPages, *, sweep: bool) -> str | None:
    if pager.order == "change_time":
        return _IN_ORDER_OF_CHANGE
    overlaps = isinstance(pager, OffsetPages) and pager.overlap > 0
    if pager.accepted_loss or overlaps:
        return None
    match pager.order:
        case "fixed":
            return None if sweep else _PULLED_BACK
        case "change_time_descending":
            return None if sweep else _HIDDEN_BY_A_DELETION
        case _:
            return _IN_ANY_ORDER


def _loss_by_walking(cursor: Cursor | None) -> str | None:
    """Pages inside one instant may count rows: it is read until two passes over it agree."""
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
