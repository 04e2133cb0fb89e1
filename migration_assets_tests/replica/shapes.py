"""What a legacy API may be like, and the description a person would write of it.

Belongs here: the choices, and which of them lose rows that only a sweep finds. Does not belong
here: serving pages (``server``).
"""

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from migration_assets.legacy.description import Source
from migration_assets_tests.legacy.imagined_source import BASE, DIALECTS, Dialect
from migration_assets_tests.replica.clinic import BEGINNING, Deletion

STREAM = "rows"
CAP = 6
"""The most rows one question is answered with, where a shape has such a limit."""

MAX_WINDOW_SECONDS = 20 * 86_400
SLOWEST_SECONDS = 2
"""The longest an answer takes from its snapshot to its Date."""

_CHAINS: dict[str, dict[str, Any]] = {
    "next_url": {"type": "next_url", "path": "next"},
    "next_url_header": {"type": "next_url_header", "header": "Next-Page"},
    "link_header": {"type": "link_header"},
    "cursor": {"type": "cursor", "path": "token", "param": "at"},
    "cursor_more": {"type": "cursor", "path": "last", "param": "at", "more": "more"},
    "cursor_header": {"type": "cursor_header", "header": "Next-Token", "param": "at"},
}
CHAINS = tuple(_CHAINS)
PAGERS = ("none", "page", "offset", "keyset", *CHAINS)
ORDERS = ("fixed", "change_time", "change_time_descending", "unknown")


@dataclass(frozen=True)
class Shape:
    """One API. ``size`` is what we ask for, ``largest`` the most it puts on a page.

    ``compares`` is what its filter looks at: the instant stored, that cut to the tick, or local
    time as it is stored in a zone. ``remembers`` tells whether its links and tokens hold the last
    row's place in the order, or only how many rows were passed.
    """

    dialect: str = "iso seconds"
    compares: str = "instants"
    fold: int = 0
    inclusive: bool = True
    until: bool = False
    until_inclusive: bool = False
    deletion: Deletion = Deletion.ABSENCE
    order: str = "fixed"
    pager: str = "none"
    walks: bool = False
    remembers: bool = True
    size: int = 3
    largest: int = 3
    overlap: int = 0
    total: bool = False
    limit: str | None = None
    late_seconds: int = 0
    skew_seconds: int = 0
    promises_sweep: bool = False
    confirms: bool = False

    @property
    def times(self) -> Dialect:
        """How it writes times."""
        return DIALECTS[self.dialect]

    @property
    def needs_sweep(self) -> bool:
        """Whether rows may slip from page to page unseen while people work.

        A walk reads an instant of several pages until two passes agree.
        """
        if self.walks or self.pager in ("none", "keyset"):
            return False
        if self.pager == "offset":
            return self.overlap == 0
        return not (self.pager in _CHAINS and self.remembers)

    @property
    def lookback_seconds(self) -> float:
        """What the description declares: the longest transaction, a slow answer, the zone's hour.

        Local time without a zone says that a row of the repeated hour is an hour older than it is.
        """
        declared = float(self.times.cursor.get("lookback_seconds", 0))
        return declared + self.late_seconds + SLOWEST_SECONDS


def description(shape: Shape) -> dict[str, Any]:
    """The stream as a person would describe it."""
    cursor = {
        **shape.times.cursor,
        "field": "changed",
        "param": "from",
        "inclusive": shape.inclusive,
        "lookback_seconds": shape.lookback_seconds,
    }
    if shape.until:
        cursor |= {"until_param": "to", "until_inclusive": shape.until_inclusive}
    if shape.limit is not None:
        cursor["earliest"] = BEGINNING.isoformat()
    if shape.limit == "cap":
        cursor["cap"] = CAP
    if shape.limit == "window":
        cursor["max_window_seconds"] = MAX_WINDOW_SECONDS
    stream: dict[str, Any] = {
        "name": STREAM,
        "path": "rows",
        "select": "data",
        "id": "id",
        "pager": _pager(shape),
        "cursor": cursor,
        "archived": {"path": "archived"},
        "merged_into": "merged_into",
        "sweep": shape.promises_sweep,
    }
    if shape.confirms:
        stream["confirm"] = "rows/{id}"
    if shape.deletion is Deletion.FLAG:
        stream["tombstone"] = {"path": "deleted"}
    if shape.deletion is Deletion.FEED:
        stream["feeds"] = [{"path": "deleted", "means": "deleted"}]
    return stream


def _pager(shape: Shape) -> dict[str, Any]:
    if shape.pager == "none":
        return {"type": "none"}
    sized = {"size_param": "limit", "size": shape.size}
    counted = {**sized, "order": shape.order} | ({"total": "total"} if shape.total else {})
    pager: dict[str, Any]
    match shape.pager:
        case "page":
            pager = {"type": "page", **counted}
        case "offset":
            pager = {"type": "offset", **counted, "overlap": shape.overlap}
        case "keyset":
            pager = {"type": "keyset", "field": "id", "param": "after", **sized}
        case chain:
            moves_back = shape.order == "change_time_descending"
            pager = {**_CHAINS[chain], "keyset": shape.remembers and not moves_back}
    return {"type": "walk", "within_tie": pager} if shape.walks else pager


def described(shape: Shape) -> Source | None:
    """The description, loaded; None if the loader refuses it."""
    try:
        return Source.model_validate(
            {"name": "replica", "base_url": BASE, "streams": [description(shape)]}
        )
    except ValidationError:
        return None
