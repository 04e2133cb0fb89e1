"""How the next page is asked for, as far as parameters and answer prove it.

Belongs here: the pagers of ``description.paging``, best first (legacy-APIs study, page drift): the
server's own keyset, offsets with an overlap, page numbers, links. Does not belong here: whether a
pager goes together with a cursor (``streams``).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from migration_assets.legacy.drafting.listings import Listing
from migration_assets.legacy.drafting.parameters import Parameter
from migration_assets.legacy.drafting.schemas import Field
from migration_assets.legacy.drafting.words import joined, words

_PAGES = ("page", "pagenumber", "pageno", "pageindex", "pagenum", "currentpage", "p")
_OFFSETS = ("offset", "skip", "startindex", "start", "from", "pageoffset", "getpagesoffset")
_SIZES = (
    "limit", "perpage", "pagesize", "count", "size", "pagelimit", "pagelength", "maxresults",
    "itemsperpage", "take", "top", "pagecount",
)  # fmt: skip
_TOKENS = (
    "cursor", "pagetoken", "nexttoken", "continuationtoken", "pagecursor", "nextcursor",
    "endcursor", "after", "startingafter", "continuation", "scrollid", "marker",
    "nextpagetoken", "startkey",
)  # fmt: skip
_NEXT_TOKENS = (
    "nextcursor", "nextpagetoken", "nexttoken", "endcursor", "continuationtoken", "cursornext",
    "pagetoken", "next", "nextpagecursor", "cursor", "continuation", "nextmarker", "scrollid",
    "cursorsafter", "after",
)  # fmt: skip
_NEXT_URLS = ("next", "nexturl", "nextlink", "nextpageurl", "nexthref", "nexthreflink", "nextpage")
_MORE = ("hasmore", "hasnext", "hasnextpage", "more")
_ENVELOPES = frozenset(
    {"links", "link", "paging", "pagination", "meta", "pageinfo", "cursor", "cursors", "page",
     "metadata", "response", "info"}
)  # fmt: skip
_TOTALS = ("total", "totalcount", "totalresults", "totalentries", "totalitems", "totalrecords",
           "totalrows", "recordcount", "totalelements")  # fmt: skip
_OF_ONE_PAGE = frozenset(
    {"count", "size", "limit", "perpage", "pagesize", "totalpages", "pages", "lastpage", "offset",
     "pagecount", "itemsperpage", "numpages"}
)  # fmt: skip
_SPOKEN = ("totalpages", "pages", "lastpage", "pagecount", "currentpage", "numpages", "perpage",
           "pagesize", "offset", "limit", "page")  # fmt: skip
_SPOKEN_HEADERS = frozenset({"link", "range", "total", "page", "pages", "next", "cursor"})
_NO_WORD_OF_PAGES = (
    "nothing is said of pages, so that the first answer is taken for the whole; if it is cut off "
    "(a usual 20, 50 or 100 rows), the rest is lost: `migration check` shows how many come"
)
_OF_DAYS_TOO = frozenset({"start", "from", "p", "count", "top", "take", "size"})
_ADDRESSES = ("uri", "url", "uri-reference")
_USUAL_SIZE, _LARGEST_SIZE, _OVERLAP = 100, 1_000, 5


@dataclass(frozen=True)
class Paging:
    """A pager as the description writes it, and what is to be decided about it.

    ``params`` go with every request (a page's size, where no pager sets it). ``complete`` is
    False if rows after the first page would be lost: such a stream must not be pulled as it stands.
    """

    pager: Mapping[str, Any] | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    decide: tuple[str, ...] = ()
    complete: bool = True


def paging_of(listing: Listing) -> Paging:
    """The pager that the listing's parameters and answer prove."""
    by_name = {joined(one.name): one for one in listing.query}
    page, offset, size = (_first(by_name, names) for names in (_PAGES, _OFFSETS, _SIZES))
    token = next((by_name[n] for n in _TOKENS if n in by_name and not by_name[n].format), None)
    params = {size.name: str(_size(size))} if size is not None else {}
    if token is not None and (found := _by_token(listing, token, params)):
        return found
    if offset is not None and size is not None:
        return _by_offset(listing, offset, size)
    if page is not None:
        return _by_number(listing, page, size)
    unused = size is not None or offset is not None or token is not None
    return _by_link(listing, params) or _not_at_all(listing, cut=unused)


def says_pages(parameter: str) -> bool:
    """True for a parameter that pages and leaves no row out for good."""
    return joined(parameter) in {*_PAGES, *_OFFSETS, *_SIZES, *_TOKENS, "format"}


def _first(by_name: Mapping[str, Parameter], names: Iterable[str]) -> Parameter | None:
    return next((by_name[name] for name in names if _counts(by_name.get(name))), None)


def _counts(parameter: Parameter | None) -> bool:
    """True for one that takes a number; documents call those text, too (``start`` may be a day)."""
    if parameter is None or parameter.format.startswith("date"):
        return False
    if parameter.kind in ("integer", "number"):
        return True
    return parameter.kind in ("", "string") and joined(parameter.name) not in _OF_DAYS_TOO


def _size(parameter: Parameter) -> int:
    """As many as the source gives, within reason; its own default where it names no most."""
    if parameter.maximum is not None and parameter.maximum > 0:
        return min(parameter.maximum, _LARGEST_SIZE)
    default = parameter.default
    return default if isinstance(default, int) and default > 0 else _USUAL_SIZE


def _by_token(listing: Listing, token: Parameter, params: Mapping[str, str]) -> Paging | None:
    """A token in the answer, or an address that holds it."""
    links = [one for one in _in_envelope(listing, _NEXT_URLS) if _is_address(one)]
    if links:
        return Paging({"type": "next_url", "path": links[0].path}, params)
    for one in _in_envelope(listing, _NEXT_TOKENS):
        pager = {"type": "cursor", "path": one.path, "param": token.name}
        more = [each for each in _in_envelope(listing, _MORE) if each.shape.kind == "boolean"]
        if more:
            pager["more"] = more[0].path
        unsure = joined(one.name) == "next" and one.shape.format == ""
        said = (
            f"{one.path} is taken for a page token that goes into {token.name}; if it is an "
            "address, the pull stops at the second page: say pager: {type: next_url}"
        )
        return Paging(pager, params, (said,) if unsure else ())
    for name, shape in listing.response_headers.items():
        if _is_next(name) and shape.kind != "integer":
            pager = {"type": "cursor_header", "header": name, "param": token.name}
            return Paging(pager, params)
    return None


def _by_offset(listing: Listing, offset: Parameter, size: Parameter) -> Paging:
    pager: dict[str, Any] = {"type": "offset"}
    if offset.name != "offset":
        pager["param"] = offset.name
    if size.name != "limit":
        pager["size_param"] = size.name
    rows = _size(size)
    total, decide = _total(listing)
    if offset.minimum == 1 or offset.default == 1:
        said = f"{offset.name} begins at 1 and a pager of offsets at 0: its first row may be lost"
        return Paging(None, {}, (f"{said}; describe its pages by hand",), complete=False)
    overlap = {"overlap": min(_OVERLAP, rows - 1)} if rows > 1 else {}
    return Paging({**pager, "size": rows, **total, **overlap}, {}, decide)


def _by_number(listing: Listing, page: Parameter, size: Parameter | None) -> Paging:
    pager: dict[str, Any] = {"type": "page"}
    if page.name != "page":
        pager["param"] = page.name
    if size is not None:
        pager |= {"size_param": size.name, "size": _size(size)}
    total, decide = _total(listing)
    known = next((one for one in (page.default, page.minimum) if one in (0, 1)), None)
    if known == 0:
        pager["first"] = 0
    elif known is None and not total:
        pager["first"] = 0
        said = (
            f"the first {page.name} may be 0 or 1: 0 is asked for first, as the rows of a page 0 "
            "would be lost; a source that counts from 1 stops the pull: then say first: 1"
        )
        decide = (*decide, said)
    return Paging({**pager, **total}, {}, decide)


def _by_link(listing: Listing, params: Mapping[str, str]) -> Paging | None:
    """The address of the next page, wherever it stands."""
    links = [one for one in _in_envelope(listing, _NEXT_URLS) if one.shape.kind in ("string", "")]
    if links:
        return Paging({"type": "next_url", "path": links[0].path}, params)
    headers = listing.response_headers
    if "link" in headers:
        return Paging({"type": "link_header"}, params)
    for name, shape in headers.items():
        if _is_next(name) and shape.format in _ADDRESSES:
            return Paging({"type": "next_url_header", "header": name}, params)
    return None


def _not_at_all(listing: Listing, *, cut: bool) -> Paging:
    """One page, if nothing speaks of another; ``cut`` if a parameter does."""
    links = [one for one in listing.envelope if joined(one.name) in ("link", "links")]
    listed = any(one.shape.kind == "array" for one in links)
    spoken = (*_TOTALS, *_MORE, *_NEXT_TOKENS, *_NEXT_URLS, *_SPOKEN)
    headers = {word for name in listing.response_headers for word in words(name)}
    unsaid = [name for name in listing.unsaid if "next" in words(name)]
    if not (cut or listed or unsaid or _in_envelope(listing, spoken) or headers & _SPOKEN_HEADERS):
        return Paging(decide=(_NO_WORD_OF_PAGES,))
    said = (
        "it answers in pages, but not how the next one is asked for: every row after the first "
        "page would be lost"
    )
    if listed or unsaid:
        said += "; an address in a list (FHIR's link) or in a name with a dot needs a pager plug-in"
    return Paging(None, {}, (said,), complete=False)


def _in_envelope(listing: Listing, names: Iterable[str]) -> list[Field]:
    """Fields around the list by their name, alone or below links, meta and their like."""
    found: dict[str, Field] = {}
    for one in listing.envelope:
        *above, name = one.path.split(".")
        if above and joined(above[-1]) == "next" and name in ("href", "url"):
            *above, name = above  # HAL: _links.next.href
        if all(joined(part) in _ENVELOPES for part in above):
            found.setdefault(joined(name), one)
            if above:
                found.setdefault(joined(above[-1]) + joined(name), one)
    chosen = [found[name] for name in names if name in found]
    return [one for one in chosen if not one.shape.properties]


def _is_address(one: Field) -> bool:
    said = joined(one.name)
    return one.shape.format in _ADDRESSES or said.endswith(("url", "link", "href"))


def _is_next(header: str) -> bool:
    return "next" in joined(header)


def _total(listing: Listing) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """``total`` where it is sure to be of all rows; if it were of one page, reading stops there."""
    names = {joined(one.name): one for one in listing.envelope if one.shape.kind == "integer"}
    around = {joined(one.name) for one in listing.envelope}
    if "count" in names and {"next", "previous"} <= around:  # Django REST framework's page
        return {"total": names["count"].path}, ()
    found = next((names[name] for name in _TOTALS if name in names), None)
    if found is None:
        return {}, ()
    if around & _OF_ONE_PAGE:
        return {"total": found.path}, ()
    said = (
        f"{found.path} may be the number of all rows or of one page's: in the second case saying "
        "pager.total would end every pull after its first page; `migration check` shows it"
    )
    return {}, (said,)
