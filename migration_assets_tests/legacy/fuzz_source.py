"""A source that answers any description as it says, before it is spoiled.

Belongs here: rows, pages and envelopes made from a description. Does not belong here: descriptions
(``fuzz_scenarios``), or spoiling (``fuzz_mutations``).
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import orjson

from migration_assets.legacy.description import Stream
from migration_assets.legacy.description.change_time import DAY, Cursor
from migration_assets.legacy.description.paging import (
    KeysetPages,
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
from migration_assets.legacy.rows import value_at
from migration_assets_tests.legacy.conftest import PERSON, SECRET
from migration_assets_tests.legacy.fuzz_scenarios import BASE

ROWS = 7
_FIRST = dt.datetime(2024, 3, 3, 12, tzinfo=dt.UTC)


@dataclass(frozen=True)
class Asked:
    """A request, as far as an honest source looks at it."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    body: Any = None

    @classmethod
    def parse(cls, raw: bytes) -> "Asked":
        """From the bytes of an HTTP request."""
        head, _, body = raw.partition(b"\r\n\r\n")
        method, target, *_ = head.split(b"\r\n")[0].decode("latin-1").split(" ")
        parts = urlsplit(target)
        query = parse_qs(parts.query)
        try:
            read = orjson.loads(body)
        except orjson.JSONDecodeError:
            read = None
        return cls(method, parts.path, query, read)

    def param(self, name: str) -> str | None:
        """A parameter of the query or of the body."""
        found = value_at(self.body, name) if isinstance(self.body, dict) else None
        return str(found) if isinstance(found, str | int) else self.query.get(name, [None])[-1]

    def number(self, name: str | None, default: int) -> int:
        """A parameter that is a number; anything else is the default."""
        found = self.param(name) if name else None
        return int(found) if found and found.isascii() and found.isdigit() else default


@dataclass
class Parts:
    """A response in parts that can be spoiled."""

    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: Any = None


def honest(stream: Stream, asked: Asked, base: str = BASE) -> Parts:
    """What a source of this shape answers."""
    headers = [("Date", "Mon, 04 Mar 2024 13:00:00 GMT"), ("Content-Type", "application/json")]
    if asked.path.endswith(("/token", "/token/")):
        return Parts(200, headers, {"access_token": SECRET, "expires_in": 3600})
    if asked.path.endswith("/told"):
        return Parts(204, headers)
    for feed in stream.feeds:
        if asked.path.endswith(f"/{feed.path}"):
            return _page(stream.of_feed(feed), asked, base, headers)
    last = asked.path.rsplit("/", 1)[-1]
    if stream.detail is not None and last.isdigit():
        return Parts(
            200, headers, _enveloped(stream, stream.detail_select, _row(stream, int(last)))
        )
    return _page(stream, asked, base, headers)


def _page(stream: Stream, asked: Asked, base: str, headers: list[tuple[str, str]]) -> Parts:
    rows = [_row(stream, n) for n in range(ROWS)]
    if isinstance(stream.pager, Walk) and stream.cursor is not None:
        rows = rows[_asked_since(stream.cursor, asked) :]
    begin, end = _slice(stream.pager, asked)
    body = _enveloped(stream, stream.select, rows[begin:end])
    pager = stream.pager.within_tie if isinstance(stream.pager, Walk) else stream.pager
    more = end < len(rows)
    following = f"{base}{asked.path.removeprefix('/api')}?at={end}"
    if isinstance(body, dict):
        if getattr(pager, "total", None):
            _put(body, str(getattr(pager, "total", "")), len(rows))
        if isinstance(pager, NextUrl | TokenPages):
            token = following if isinstance(pager, NextUrl) else str(end)
            _put(body, pager.path, token if more else None)
    if more and isinstance(pager, NextUrlHeader | TokenHeader):
        headers.append((pager.header, following if isinstance(pager, NextUrlHeader) else str(end)))
    if more and isinstance(pager, LinkHeader):
        headers.append(("Link", f'<{following}>; rel="next"'))
    return Parts(200, headers, body)


def _enveloped(stream: Stream, path: str, content: Any) -> Any:
    body = _put({}, path, content)
    for name in (*stream.require, *stream.error_if):
        if name != "$" and isinstance(body, dict):
            body.setdefault(name.split(".")[0], [])
    return body


def _asked_since(cursor: Cursor, asked: Asked) -> int:
    """The number of the first row that is asked for."""
    before = cursor.send.partition("{value}")[0]
    for value in asked.query.get(cursor.param or "", []):
        if value.startswith(before):
            try:
                since = dt.datetime.fromisoformat(value.removeprefix(before))
            except ValueError:  # of a spoiled description
                return 0
            return max(0, -((_FIRST - since) // dt.timedelta(hours=1)))
    return 0


def _slice(described: PagerDescription, asked: Asked) -> tuple[int, int]:
    pager = described.within_tie if isinstance(described, Walk) else described
    size = asked.number(getattr(pager, "size_param", None), 3)
    match pager:
        case NumberedPages():
            begin = (asked.number(pager.param, pager.first) - pager.first) * size
        case OffsetPages():
            begin = asked.number(pager.param, 0)
        case TokenPages() | TokenHeader():
            begin = asked.number(pager.param, 0)
        case KeysetPages():
            begin = asked.number(pager.param, -1) + 1
        case NextUrl() | NextUrlHeader() | LinkHeader():
            begin = asked.number("at", 0)
        case _:
            begin, size = 0, ROWS
    return max(begin, 0), max(begin, 0) + size


def _row(stream: Stream, number: int) -> dict[str, Any]:
    row: dict[str, Any] = {"name": PERSON, "event": number, "notes": [{"text": "x"}]}
    for path in stream.id:
        _put(row, path, number)
    if stream.cursor is not None:
        _put(row, stream.cursor.field, _shown(stream.cursor, _FIRST + dt.timedelta(hours=number)))
    return row


def _shown(cursor: Cursor, moment: dt.datetime) -> Any:
    if cursor.format == "epoch_s":
        return int(moment.timestamp())
    if cursor.format == "epoch_ms":
        return int(moment.timestamp()) * 1000
    if cursor.format == "iso":
        shown = moment.isoformat()
        return shown[:10] if cursor.precision_seconds >= DAY and cursor.tz else shown
    return moment.astimezone(ZoneInfo(cursor.tz or "UTC")).strftime(cursor.format)


def _put(body: dict[str, Any], path: str, value: Any) -> Any:
    if path == "$":
        return value
    *through, last = path.split(".")
    place: Any = body
    for part in through:
        inner = place.setdefault(part, {})
        place = inner if isinstance(inner, dict) else place.__setitem__(part, {}) or place[part]
    place[last] = value
    return body
