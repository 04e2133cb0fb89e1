"""The ways a source may cut its answer into pages.

Belongs here: what a description may say. Does not belong here: asking for the pages
(``legacy.pagers``, one generator per class of this file).
"""

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from migration_assets.legacy.description.shape import Described, Dotted, ParameterName

Size: TypeAlias = Annotated[int, Field(ge=1)]


class SinglePage(Described):
    """The whole answer is one page."""

    type: Literal["none"] = "none"


class NumberedPages(Described):
    """``?page=1``, ``?page=2`` and so on, until a page is empty.

    A short page does not end it unless ``short_page_ends``: a server that caps the page size
    below what was asked would otherwise lose everything after its first page, silently. With
    ``total`` (dotted path to the number of rows) paging ends there, and ending before it is
    an error.
    """

    type: Literal["page"]
    param: ParameterName = "page"
    first: int = 1
    size_param: ParameterName | None = None
    size: Size = 100
    total: Dotted | None = None
    short_page_ends: bool = False


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
    total: Dotted | None = None
    short_page_ends: bool = False
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


class NextUrlHeader(Described):
    """A header holds the address of the next page (Kinto's ``Next-Page``)."""

    type: Literal["next_url_header"]
    header: ParameterName


class LinkHeader(Described):
    """``Link: <...>; rel="next"`` (RFC 8288)."""

    type: Literal["link_header"]
    rel: str = "next"


class TokenPages(Described):
    """The body holds a page token that goes into the next request as ``param``.

    ``stop_on_empty`` is for APIs whose token never runs out (CouchDB's ``last_seq``): others may
    send an empty page in the middle, so it is off.
    """

    type: Literal["cursor"]
    path: Dotted
    param: ParameterName
    stop_on_empty: bool = False


PagerDescription: TypeAlias = Annotated[
    SinglePage | NumberedPages | OffsetPages | NextUrl | NextUrlHeader | LinkHeader | TokenPages,
    Field(discriminator="type"),
]
