"""The ways a source may cut its answer into pages.

Belongs here: what a description may say. Does not belong here: asking for the pages
(``legacy.pagers``, one generator per class of this file).
"""

from collections.abc import Mapping
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, JsonValue, model_validator

from migration_assets.legacy.description.shape import Described, Dotted, ParameterName

Size: TypeAlias = Annotated[int, Field(ge=1)]

Order: TypeAlias = Literal["fixed", "change_time", "change_time_descending", "unknown"]
"""What the source sorts a stream by; ``fixed`` is something that never changes (id, creation)."""

Keyset: TypeAlias = bool
"""True if the source finds the next page by the last row's own values and not by counting rows (DRF
CursorPagination, Datasette), in an order where a change takes no row back behind that place: what
is deleted then shifts nothing. Otherwise the address or token may hold a row count (DRF
LimitOffset, json-server: 16 of 1,200 rows lost while people deleted): a stream with a cursor must
promise a ``sweep``, and a sweep reads twice, until both passes agree."""


class TotalHeader(Described):
    """A header holds the number of rows (``X-Total-Count``)."""

    header: ParameterName


class SinglePage(Described):
    """The whole answer is one page."""

    type: Literal["none"] = "none"


class NumberedPages(Described):
    """``?page=1``, ``?page=2`` and so on, until a page is empty.

    A short page does not end it unless ``short_page_ends``: a server that caps the page size
    below what was asked would otherwise lose everything after its first page, silently. With
    ``total`` (dotted path to the number of rows) paging ends there, and ending before it is
    an error.

    ``max_size`` is the largest size the API takes, for a run that asks for another one.

    ``order`` says what the source sorts by, as far as it is known. Even if it is ``fixed`` a row
    that leaves hides another (1 of 1,800 lost): with a cursor the stream must promise a ``sweep``.
    ``accepted_loss`` is a person's reason for paging all the same where rows may slip from one
    page to another unseen.
    """

    type: Literal["page"]
    param: ParameterName = "page"
    first: int = 1
    size_param: ParameterName | None = None
    size: Size = 100
    max_size: Size | None = None
    total: Dotted | None = None
    short_page_ends: bool = False
    order: Order = "unknown"
    accepted_loss: str | None = None


class OffsetPages(Described):
    """``?offset=0&limit=100`` and so on; ends as numbered pages do.

    ``overlap`` rows are read twice: the first keys of a page must be the last of the page before,
    else rows moved between the two requests and the pull starts again (legacy-APIs study,
    page drift: 0 rows lost instead of 10).
    """

    type: Literal["offset"]
    param: ParameterName = "offset"
    size_param: ParameterName = "limit"
    size: Size = 100
    max_size: Size | None = None
    total: Dotted | None = None
    short_page_ends: bool = False
    order: Order = "unknown"
    accepted_loss: str | None = None
    overlap: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _overlap_leaves_room(self) -> Self:
        if self.overlap >= self.size:
            raise ValueError("overlap must be smaller than size: paging would never move on")
        return self


class NextUrl(Described):
    """The body holds the address of the next page; blank or absent at the end.

    ``join`` says what a relative address is relative to: the request, or ``base_url`` (Soul).
    """

    type: Literal["next_url"]
    path: Dotted = "next"
    join: Literal["url", "base"] = "url"
    keyset: Keyset = False


class NextUrlHeader(Described):
    """A header holds the address of the next page (Kinto's ``Next-Page``)."""

    type: Literal["next_url_header"]
    header: ParameterName
    keyset: Keyset = False


class LinkHeader(Described):
    """``Link: <...>; rel="next"`` (RFC 8288)."""

    type: Literal["link_header"]
    rel: str = "next"
    keyset: Keyset = False


class TokenPages(Described):
    """The body holds a page token that goes into the next request as ``param``.

    ``more`` is the path of a flag that says whether there is a next page, for APIs whose token
    never runs out (GraphQL's ``pageInfo.hasNextPage``). ``stop_on_empty`` is for those that have
    no such flag (CouchDB's ``last_seq``): others may send an empty page in the middle, so it is
    off.
    """

    type: Literal["cursor"]
    path: Dotted
    param: ParameterName
    more: Dotted | None = None
    stop_on_empty: bool = False
    keyset: Keyset = False


class TokenHeader(Described):
    """A header holds the page token; absent or blank at the end."""

    type: Literal["cursor_header"]
    header: ParameterName
    param: ParameterName
    stop_on_empty: bool = False
    keyset: Keyset = False


class KeysetPages(Described):
    """The next page is asked for by a field of the last row (``?after_id=17``) until one is empty.

    The source must sort by that field, and no two rows may share a value: equal values would be
    split by a page's end, and the rest of them skipped. So ``field`` is an id as a rule.
    """

    type: Literal["keyset"]
    field: Dotted
    param: ParameterName
    size_param: ParameterName | None = None
    size: Size = 100
    max_size: Size | None = None
    short_page_ends: bool = False


InsideOneInstant: TypeAlias = Annotated[
    NumberedPages | OffsetPages | NextUrl | NextUrlHeader | LinkHeader | TokenPages | TokenHeader,
    Field(discriminator="type"),
]


class Walk(Described):
    """Always the first page of what changed since the last change time seen.

    Rows that change while we read move behind us to the end, where we meet them again: none is
    skipped (legacy-APIs study: 0 lost of 3,000, where page numbers lost 23). Real pages are asked
    for only inside one instant, as ``within_tie`` says. The source must sort ascending by the
    cursor's field, and its lower filter must include equality. Inside one instant a row that
    leaves may still shift others between pages: an offset with ``overlap`` notices, ``keyset``
    keeps them in place, and any other paging reads the instant until two passes agree.
    """

    type: Literal["walk"]
    within_tie: InsideOneInstant


class PluginPages(Described):
    """A pager in Python (``legacy.plugins``), with the options it wants."""

    type: Literal["plugin"]
    name: Annotated[str, Field(min_length=1)]
    options: Mapping[str, JsonValue] = {}


PagerDescription: TypeAlias = Annotated[
    SinglePage
    | NumberedPages
    | OffsetPages
    | NextUrl
    | NextUrlHeader
    | LinkHeader
    | TokenPages
    | TokenHeader
    | KeysetPages
    | Walk
    | PluginPages,
    Field(discriminator="type"),
]


def parameters_of(pager: PagerDescription) -> tuple[str, ...]:
    """The parameters a pager sets itself."""
    inner = pager.within_tie if isinstance(pager, Walk) else pager
    named = (getattr(inner, name, None) for name in ("param", "size_param"))
    return tuple(name for name in named if name is not None)
