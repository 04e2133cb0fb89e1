"""One window of one stream, read page by page: the proofs that a page is a page, and the guards.

Belongs here: requests in the pager's order, what makes an answer believable, no endless paging.
Does not belong here: what a pull is made of (``pull``), which page comes next (``pagers``).
"""

import datetime as dt
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

from migration_assets.errors import Permanent
from migration_assets.legacy.completeness import Tally
from migration_assets.legacy.description import Stream
from migration_assets.legacy.description.paging import Walk
from migration_assets.legacy.failures import Disbelief
from migration_assets.legacy.pagers import (
    PageRequest,
    PageSeen,
    Paging,
    RepeatedPageError,
    is_chain,
    paging_for,
)
from migration_assets.legacy.placement import placed
from migration_assets.legacy.rows import ABSENT, PulledRow, row_reader, value_at
from migration_assets.legacy.timestamps import DAWN, floor_to_tick, lower_bound, upper_bound
from migration_assets.legacy.transport import Fetcher
from migration_assets.legacy.walk import walk


@dataclass(frozen=True)
class Read:
    """A page: its rows that the window keeps, how many there were that no page had before.

    ``read_until``: all rows of the window that changed before it have come, if that is proven.
    ``begins``: it is the first of a reading. ``total`` is how many rows the source says there are.
    ``parents`` are those whose last page it is.
    """

    rows: tuple[PulledRow, ...]
    fetched: int
    headers: Mapping[str, str]
    read_until: dt.datetime | None = None
    begins: bool = False
    total: int | None = None
    parents: tuple[str, ...] = ()


@dataclass(frozen=True)
class Window:
    """Half-open [since, until) in UTC; None is an open end."""

    since: dt.datetime | None
    until: dt.datetime | None

    def keeps(self, row: PulledRow) -> bool:
        """False only for a row that we can tell is outside."""
        moment = row.changed_at
        if moment is None:
            return True
        return (self.since is None or moment >= self.since) and (
            self.until is None or moment < self.until
        )


def checkpoint(
    stream: Stream, window: Window, read_until: dt.datetime | None, server_time: dt.datetime
) -> dt.datetime | None:
    """From where a pull of the window may go on later, or None if from its beginning.

    Not beyond the source's own time, for a row changed a moment later may be dated before one that
    is dated in the future. On the tick, which rows of one bound share in any order.
    """
    cursor = stream.cursor
    if stream.queue is not None and read_until is not None:
        return min(read_until, server_time)  # of what was marked as read; see ``queues``
    if read_until is None or read_until < DAWN or stream.parent is not None or stream.feeds:
        return None
    if stream.queue is not None:
        return min(read_until, server_time)
    if cursor is None:
        return None
    moment = floor_to_tick(cursor, min(read_until, server_time))
    return moment if window.since is None or moment > window.since else None


def is_filtered(stream: Stream, window: Window) -> bool:
    """True if the source is asked for less than all it has."""
    cursor = stream.cursor
    if cursor is None or cursor.param is None:
        return False
    upper = window.until is not None and cursor.until_param is not None
    return upper or window.since is not None


def read_window(
    fetcher: Fetcher, stream: Stream, window: Window, *, url: str, where: str, tally: Tally
) -> Generator[Read, None, None]:
    """The pages of a window, in the pager's order, counted in ``tally``.

    Raises:
        DriftError: rows moved between two pages, or paging does not move on.
        Permanent, Transient: as the transport does, and if paging has no end.
    """
    read = row_reader(stream)
    if stream.cursor is None:
        window = Window(None, None)
    guard = _LoopGuard(where, stream.max_pages)
    paging = _paging(fetcher, stream, window, url)
    request = next(paging)
    while True:
        guard.before(request)
        query, body = placed(stream, request.params)
        answer = fetcher.fetch(
            request.url, query, where=where, believe=lambda body: doubt(stream, body), body=body
        )
        if answer.skipped and guard.pages > 1 and is_chain(stream.pager):
            raise Permanent(f"{where}: a page in the middle answered with a skipped status")
        raw = [] if answer.skipped else value_at(answer.body, stream.select)
        guard.after(raw, may_repeat=request.may_repeat)
        flawed = answer.flawed
        rows = tuple([read(row, flawed=flawed) for row in raw])
        fresh = rows[request.already_read :]
        total = tally.page(fresh, answer)
        kept = tuple([row for row in fresh if window.keeps(row)])
        seen = PageSeen(request.url, answer.body, answer.headers, rows)
        following = _following(paging, seen, where)
        if following is not None:
            read_until = following.read_until
        else:
            read_until = None if answer.skipped else window.until
        yield Read(kept, len(fresh), answer.headers, read_until, guard.pages == 1, total)
        if following is None:
            return
        request = following


def _paging(fetcher: Fetcher, stream: Stream, window: Window, url: str) -> Paging:
    pager, cursor = stream.pager, stream.cursor
    params = [(name, one) for name, values in stream.params.items() for one in values]

    def asking_since(since: dt.datetime | None) -> PageRequest:
        bounds = []
        known = since if since is not None and since >= DAWN else None
        if cursor is not None and cursor.param is not None and known is not None:
            value = lower_bound(cursor, known)
            bounds.append((cursor.param, cursor.send.replace("{value}", value)))
        if cursor is not None and cursor.until_param is not None and window.until is not None:
            value = upper_bound(cursor, window.until)
            bounds.append((cursor.until_param, cursor.until_send.replace("{value}", value)))
        return PageRequest(url, (*params, *bounds))

    start = asking_since(window.since)
    if not isinstance(pager, Walk) or cursor is None:
        return paging_for(pager, start, fetcher.base_url)
    return walk(
        start,
        cursor=cursor,
        asking_since=asking_since,
        inside=lambda begin: paging_for(pager.within_tie, begin, fetcher.base_url),
        notices_drift=getattr(pager.within_tie, "keyset", False)
        or getattr(pager.within_tie, "overlap", 0) > 0,
    )


def _following(paging: Paging, page: PageSeen, where: str) -> PageRequest | None:
    """The pager's next request; its complaints gain the place they are about."""
    try:
        return paging.send(page)
    except StopIteration:
        return None
    except Permanent as error:
        complaint = str(error)
    raise Permanent(f"{where}: {complaint}")


def doubt(stream: Stream, body: Any) -> Disbelief | None:
    """Why a 200 is not a page of this stream, or None. «No rows» is believed only of a list."""
    graphql = ("errors",) if "query" in stream.body else ()
    for path in (*stream.error_if, *graphql):
        found = value_at(body, path)
        if found is not ABSENT and found not in (None, False, "", 0, [], {}):
            return Disbelief(f"there is an error at {path}: its log knows more", passing=True)
    for path in stream.require_true:
        if value_at(body, path) is not True:
            return Disbelief(f"{path} is not true: its log knows more", passing=True)
    for path in stream.require:
        if value_at(body, path) is ABSENT:
            return Disbelief(f"there is no {path}")
    if not isinstance(value_at(body, stream.select), list):
        return Disbelief(f"there is no list at {stream.select}")
    return None


class _LoopGuard:
    """Stops paging that does not move: an address twice, two equal pages, or far too many."""

    def __init__(self, where: str, max_pages: int) -> None:
        self._where = where
        self._max_pages = max_pages
        self._asked: set[int] = set()
        self._previous: list[Any] = []
        self.pages = 0

    def before(self, request: PageRequest) -> None:
        """Refuse a request that was made before."""
        self.pages += 1
        asked = hash((request.url, request.params, request.turn))
        if asked in self._asked:
            raise Permanent(
                f"{self._where}: paging runs in a circle after {self.pages - 1} pages: "
                "the source named a page it had sent already"
            )
        if self.pages > self._max_pages:
            raise Permanent(
                f"{self._where}: no end after {self._max_pages} pages: "
                "raise max_pages if there are that many"
            )
        self._asked.add(asked)

    def after(self, rows: list[Any], *, may_repeat: bool) -> None:
        """Refuse a page that equals the one before."""
        if rows and not may_repeat and rows == self._previous:
            raise RepeatedPageError
        self._previous = rows
