"""The Puller: every row of a stream whose change time lies in a window, page by page.

Belongs here: windows, the proofs that a page is a page, the guards against endless paging. Does
not belong here: the high-water mark and its lookback, landing, duplicates, absence (``pipeline``,
``manifest``). A pull keeps no state: cut off anywhere, it is simply made again.
"""

import datetime as dt
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from migration_assets.errors import Permanent, Transient
from migration_assets.legacy.description import Source, Stream
from migration_assets.legacy.failures import Disbelief
from migration_assets.legacy.origins import place
from migration_assets.legacy.pagers import (
    DriftError,
    PageRequest,
    PageSeen,
    Paging,
    is_chain,
    paging_for,
)
from migration_assets.legacy.rows import ABSENT, PulledRow, RowReader, row_reader, value_at
from migration_assets.legacy.timestamps import lower_bound, upper_bound
from migration_assets.legacy.transport import Answer, Fetcher, Transport
from migration_assets.legacy.waits import header_date

_READINGS = 3  # of a stream whose rows move while it is read, before giving the turn back


@dataclass(frozen=True)
class PulledPage:
    """Rows in the order they came.

    ``server_time`` is the source's own clock at the first response of the pull, the same on every
    page: nothing that changed before it is missing, so no mark may go beyond it. It is ``Date``
    less ``Age`` (what a cache kept may be that old), or our clock if there is no ``Date``.
    """

    rows: tuple[PulledRow, ...]
    server_time: dt.datetime


@dataclass(frozen=True)
class _Window:
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


class Puller:
    """Pulls the streams of one source.

    Raises:
        Permanent: a variable is missing, or the source or its description must change.
        Transient: the source is down, busy, or its rows move too fast to be read.
    """

    def __init__(
        self,
        source: Source,
        *,
        environ: Mapping[str, str],
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._source = source
        self._clock = clock
        self._transport: Fetcher = Transport(source, environ=environ, clock=clock, sleep=sleep)

    @property
    def requests_made(self) -> int:
        """Requests so far, retries and tokens included."""
        return self._transport.requests_made

    def close(self) -> None:
        """Close the connections that are kept alive; a later pull opens new ones."""
        self._transport.close()

    def filters_by_time(self, stream: str) -> bool:
        """True if windows apply; without a change time every pull yields every row."""
        return self._source.stream(stream).cursor is not None

    def first_page(self, stream: str) -> PulledPage:
        """One page, to see whether the source answers as described."""
        return next(self.pages(stream, None, None))

    def pages(
        self, stream: str, since: dt.datetime | None, until: dt.datetime | None
    ) -> Iterator[PulledPage]:
        """Every page of [since, until), at least one, its rows filtered again by our own clock.

        A row whose change time cannot be read is in every window, marked. If rows move between two
        pages the stream is read again from its start: rows may come twice, but none is left out.
        """
        if any(end is not None and end.tzinfo is None for end in (since, until)):
            raise ValueError("a window needs ends with a time zone")
        described = self._source.stream(stream)
        window = _Window(since, until)
        server_time: dt.datetime | None = None
        for _ in range(_READINGS):
            try:
                for rows, answer in self._reading(described, window):
                    server_time = server_time or self._server_time(answer.headers)
                    yield PulledPage(rows, server_time)
            except DriftError:
                continue
            return
        raise Transient(
            f"{self._where(described)}: rows moved between pages in {_READINGS} readings: "
            "pull when fewer people work, or order the stream by something that does not change"
        )

    def _reading(
        self, stream: Stream, window: _Window
    ) -> Generator[tuple[tuple[PulledRow, ...], Answer], None, None]:
        where, read = self._where(stream), row_reader(stream)
        if stream.cursor is None:
            window = _Window(None, None)
        guard = _LoopGuard(where, stream.max_pages)
        paging = self._paging(stream, window)
        request = next(paging)
        while True:
            guard.before(request)
            answer = self._transport.fetch(
                request.url, request.params, where=where, believe=lambda body: doubt(stream, body)
            )
            if answer.skipped and guard.pages > 1 and is_chain(stream.pager):
                raise Permanent(f"{where}: a page in the middle answered with a skipped status")
            raw = [] if answer.skipped else value_at(answer.body, stream.select)
            guard.after(raw)
            rows = _read_rows(raw, read, flawed=answer.flawed)
            yield tuple(row for row in rows[request.already_read :] if window.keeps(row)), answer
            keys = tuple(row.key for row in rows)
            following = _following(
                paging, PageSeen(request.url, answer.body, answer.headers, keys), where
            )
            if following is None:
                return
            request = following

    def _paging(self, stream: Stream, window: _Window) -> Paging:
        base_url = self._transport.base_url
        params = [(name, one) for name, values in stream.params.items() for one in values]
        cursor = stream.cursor
        if cursor is not None and cursor.param is not None and window.since is not None:
            value = lower_bound(cursor, window.since)
            params.append((cursor.param, cursor.send.replace("{value}", value)))
        if cursor is not None and cursor.until_param is not None and window.until is not None:
            value = upper_bound(cursor, window.until)
            params.append((cursor.until_param, cursor.until_send.replace("{value}", value)))
        url = self._url(stream)
        return paging_for(stream.pager, PageRequest(url, tuple(params)), base_url)

    def _url(self, stream: Stream) -> str:
        base = self._transport.base_url.rstrip("/")
        return f"{base}/{stream.relative_path}" if stream.relative_path else base

    def _where(self, stream: Stream) -> str:
        """A page is always called by the declared address: a link of the source may hold ids."""
        return f"pulling {stream.name} from {place(self._url(stream))}"

    def _server_time(self, headers: Mapping[str, str]) -> dt.datetime:
        date = header_date(headers.get("Date"))
        if date is None:
            return dt.datetime.fromtimestamp(self._clock(), dt.UTC)
        age = headers.get("Age", "").strip()
        seconds = (
            int(age) if age.isascii() and age.isdigit() and len(age) < len("9999999999") else 0
        )
        return date - dt.timedelta(seconds=seconds)


def _read_rows(raw: list[Any], read: RowReader, *, flawed: bool) -> list[PulledRow]:
    return [read(row, flawed=flawed) for row in raw]


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
    for path in stream.error_if:
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
        asked = hash((request.url, request.params))
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

    def after(self, rows: list[Any]) -> None:
        """Refuse a page that equals the one before."""
        if rows and rows == self._previous:
            raise Permanent(
                f"{self._where}: two equal pages in a row: does the source know the page parameter?"
            )
        self._previous = rows
