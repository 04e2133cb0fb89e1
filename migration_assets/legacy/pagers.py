"""Which page comes next: one generator per kind of paging in ``description.paging``.

A pager yields the request for a page and is sent what came back, until it returns. Belongs here:
that, and nothing that touches the network. Does not belong here: the guards against endless
paging, which hold for every pager alike (``pull``). A new pager is a class there, a generator here
and a line in ``paging_for``.
"""

import datetime as dt
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias
from urllib.parse import urljoin

from requests.utils import parse_header_links

from migration_assets.errors import Permanent
from migration_assets.legacy.description.paging import (
    KeysetPages,
    LinkHeader,
    NextUrl,
    NextUrlHeader,
    NumberedPages,
    OffsetPages,
    PagerDescription,
    PluginPages,
    SinglePage,
    TokenHeader,
    TokenPages,
    Walk,
)
from migration_assets.legacy.plugins import pager_named
from migration_assets.legacy.rows import ABSENT, PulledRow, value_at


@dataclass(frozen=True)
class PageRequest:
    """A page to ask for; its first ``already_read`` rows were on the page before.

    ``read_until``: all rows that changed before it came with the pages before, if that is proven.
    ``may_repeat``: the page may equal the one before without paging having lost its way. ``turn``
    counts how often it was asked for on purpose.
    """

    url: str
    params: tuple[tuple[str, str], ...] = ()
    already_read: int = 0
    read_until: dt.datetime | None = None
    may_repeat: bool = False
    turn: int = 0


@dataclass(frozen=True)
class PageSeen:
    """What a pager needs to know of a page."""

    url: str
    body: Any
    headers: Mapping[str, str]
    rows: tuple[PulledRow, ...]

    @property
    def keys(self) -> tuple[str | None, ...]:
        """The rows' keys, in order."""
        return tuple(row.key for row in self.rows)

    @property
    def count(self) -> int:
        """How many rows the page holds."""
        return len(self.rows)


class DriftError(Exception):
    """Rows moved between two requests: this reading is not complete and must start again."""


class RepeatedPageError(DriftError):
    """Two equal pages in a row: rows moved just so, or paging does not move at all."""


Paging: TypeAlias = Generator[PageRequest, PageSeen, None]


def paging_for(  # noqa: PLR0911  one line for each kind of paging
    pager: PagerDescription, start: PageRequest, base_url: str
) -> Paging:
    """The generator for a description's pager, from the first request on."""
    match pager:
        case SinglePage():
            return _single(start)
        case NumberedPages():
            return _numbered(pager, start)
        case OffsetPages():
            return _offset(pager, start)
        case TokenPages() | TokenHeader():
            return _token(pager, start)
        case KeysetPages():
            return _keyset(pager, start)
        case PluginPages():
            plugin: Paging = pager_named(pager.name)(start, pager.options)
            return plugin
        case Walk():
            raise TypeError("a walk asks anew at every step: see walk.py")
        case _:
            return _links(pager, start, base_url)


def is_chain(pager: PagerDescription) -> bool:
    """True if each page is found only through the one before, so that none may be left out."""
    return not isinstance(pager, SinglePage | NumberedPages | OffsetPages)


def _single(start: PageRequest) -> Paging:
    yield start


def _numbered(pager: NumberedPages, start: PageRequest) -> Paging:
    number, seen = pager.first, 0
    size = ((pager.size_param, str(pager.size)),) if pager.size_param else ()
    while True:
        params = (*start.params, (pager.param, str(number)), *size)
        page = yield replace(start, params=params)
        seen += page.count
        if _ended(pager, page, page.count, seen):
            return
        number += 1


def _offset(pager: OffsetPages, start: PageRequest) -> Paging:
    position, seen = 0, 0
    tail: tuple[str | None, ...] = ()
    while True:
        params = (
            *start.params,
            (pager.param, str(position)),
            (pager.size_param, str(pager.size)),
        )
        page = yield replace(start, params=params, already_read=len(tail))
        if page.keys[: len(tail)] != tail:
            raise DriftError
        fresh = page.count - len(tail)
        seen += fresh
        if _ended(pager, page, fresh, seen):
            return
        # One row less than the page at most: else the next request would be the same again.
        overlap = min(pager.overlap, page.count - 1)
        tail = page.keys[page.count - overlap :]
        position += page.count - overlap


def _ended(pager: NumberedPages | OffsetPages, page: PageSeen, fresh: int, seen: int) -> bool:
    total = _total(pager, page)
    if fresh == 0:
        if total is not None and seen < total:
            raise DriftError
        return True
    if total is not None and seen >= total:
        return True
    return pager.short_page_ends and page.count < pager.size


def _total(pager: NumberedPages | OffsetPages, page: PageSeen) -> int | None:
    if pager.total is None or page.body is None:
        return None
    total = number_in(value_at(page.body, pager.total))
    if total is None:
        raise Permanent(f"pager.total: there is no number at {pager.total} in the answer")
    return total


def number_in(value: Any) -> int | None:
    """A whole number, also one that is written as text."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _token(pager: TokenPages | TokenHeader, start: PageRequest) -> Paging:
    page = yield start
    while True:
        token = _next_token(pager, page)
        if token is None or (pager.stop_on_empty and page.count == 0):
            return
        page = yield replace(start, params=(*start.params, (pager.param, token)))


def _next_token(pager: TokenPages | TokenHeader, page: PageSeen) -> str | None:
    if isinstance(pager, TokenHeader):
        return page.headers.get(pager.header) or None
    if pager.more is not None:
        more = value_at(page.body, pager.more)
        if not isinstance(more, bool):
            raise Permanent(f"pager.more: what is at {pager.more} is not true or false")
        if not more:
            return None
    token = value_at(page.body, pager.path)
    if token is ABSENT or token is None or token == "":
        if pager.more is not None:
            raise Permanent(f"pager.path: more rows are announced, but no token is at {pager.path}")
        return None
    if isinstance(token, bool | dict | list | float):
        raise Permanent(f"pager.path: what is at {pager.path} is not a page token")
    return str(token)


def _keyset(pager: KeysetPages, start: PageRequest) -> Paging:
    size = ((pager.size_param, str(pager.size)),) if pager.size_param else ()
    page = yield replace(start, params=(*start.params, *size))
    while page.count and not (pager.short_page_ends and page.count < pager.size):
        last = value_at(page.rows[-1].row, pager.field)
        if last is ABSENT or last == "" or not isinstance(last, int | str):
            raise Permanent("pager.field: the last row of a page has nothing usable there")
        page = yield replace(start, params=(*start.params, (pager.param, str(last)), *size))


def _links(
    pager: NextUrl | NextUrlHeader | LinkHeader, start: PageRequest, base_url: str
) -> Paging:
    """Follow the source's own addresses; where they may lead is ``transport``'s to decide."""
    page = yield start
    while link := _link(pager, page):
        page = yield PageRequest(_joined(pager, page.url, link, base_url))


def _joined(pager: NextUrl | NextUrlHeader | LinkHeader, url: str, link: str, base_url: str) -> str:
    try:
        if isinstance(pager, NextUrl) and pager.join == "base":
            return urljoin(base_url.rstrip("/") + "/", link.lstrip("/"))
        return urljoin(url, link)
    except ValueError:
        complaint = "what the source gives as the next page is not an address"
    raise Permanent(complaint)


def _link(pager: NextUrl | NextUrlHeader | LinkHeader, page: PageSeen) -> str | None:
    match pager:
        case NextUrlHeader():
            return page.headers.get(pager.header)
        case LinkHeader():
            links = parse_header_links(page.headers.get("Link", ""))
            return next((one["url"] for one in links if pager.rel in _relations(one)), None)
    link = value_at(page.body, pager.path)
    if link is ABSENT or link is None or link is False:
        return None
    if not isinstance(link, str):
        raise Permanent(f"pager.path: what is at {pager.path} is not an address")
    return link


def _relations(link: Mapping[str, str]) -> list[str]:
    return link.get("rel", "").split()
