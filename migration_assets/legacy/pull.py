"""The Puller: every row of a stream whose change time lies in a window, page by page.

Belongs here: what a pull is made of. Does not belong here: one reading of one window (``reading``),
the high-water mark and its lookback, landing, duplicates, absence (``pipeline``, ``manifest``). A
pull keeps no state: cut off anywhere, it is simply made again.
"""

import datetime as dt
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from migration_assets.errors import Permanent, Transient
from migration_assets.legacy.description import Source, Stream
from migration_assets.legacy.description.stream import Parent
from migration_assets.legacy.details import DetailCache, Details, DetailsInMemory
from migration_assets.legacy.failures import AsksTooMuch
from migration_assets.legacy.origins import place
from migration_assets.legacy.pagers import DriftError
from migration_assets.legacy.parents import for_parent, keys_in, usable_keys
from migration_assets.legacy.reading import Read, Window, read_window
from migration_assets.legacy.rows import PulledRow
from migration_assets.legacy.splitting import cut_to_largest, halves
from migration_assets.legacy.transport import Fetcher, Transport
from migration_assets.legacy.waits import header_date

_READINGS = 3  # of a stream whose rows move while it is read, before giving the turn back

_HALVINGS_BEFORE_IT_IS_DOWN = 10  # in a row: a thousandth of the window was too much as well


@dataclass(frozen=True)
class PulledPage:
    """Rows in the order they came.

    ``server_time`` is the source's own clock at the first response of the pull, the same on every
    page: nothing that changed before it is missing, so no mark may go beyond it. It is ``Date``
    less ``Age`` (what a cache kept may be that old), or our clock if there is no ``Date``.
    """

    rows: tuple[PulledRow, ...]
    server_time: dt.datetime


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
        details: DetailCache | None = None,
    ) -> None:
        self._details = details if details is not None else DetailsInMemory()
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
        self,
        stream: str,
        since: dt.datetime | None,
        until: dt.datetime | None,
        *,
        parents: Iterable[str] | None = None,
    ) -> Iterator[PulledPage]:
        """Every page of [since, until), at least one, its rows filtered again by our own clock.

        A row whose change time cannot be read is in every window, marked. If rows move between two
        pages, or a window proves too large for the source, it is read again: rows may come twice,
        but none is left out. ``parents`` are the keys to ask for where a stream is read parent by
        parent; without them all are asked for.
        """
        if any(end is not None and end.tzinfo is None for end in (since, until)):
            raise ValueError("a window needs ends with a time zone")
        described, window = self._source.stream(stream), Window(since, until)
        server_time: dt.datetime | None = None
        for read in self._of_all_parents(described, window, parents):
            server_time = server_time or self._server_time(read.headers)
            yield PulledPage(read.rows, server_time)
        if server_time is None:  # no parent, no request
            yield PulledPage((), self._server_time({}))

    def _of_all_parents(
        self, stream: Stream, window: Window, parents: Iterable[str] | None
    ) -> Iterator[Read]:
        if stream.parent is None:
            yield from self._with_feeds(stream, window)
            return
        for key in usable_keys(
            self._parent_keys(stream.parent, stream) if parents is None else parents
        ):
            for read in self._with_feeds(for_parent(stream, key), window):
                rows = tuple([replace(row, parent=key) for row in read.rows])
                yield replace(read, rows=rows)

    def _parent_keys(self, parent: Parent, stream: Stream) -> Iterator[str | None]:
        if parent.ids_file is not None:
            yield from keys_in(parent.ids_file, stream=stream.name)
        elif parent.stream is not None:
            for page in self.pages(parent.stream, None, None):
                yield from (row.key for row in page.rows if not row.deleted)

    def _with_feeds(self, stream: Stream, window: Window) -> Iterator[Read]:
        """Deletions come last: a row deleted while we read is not brought back by its old self."""
        yield from self._with_details(stream, window)
        for feed in stream.feeds:
            yield from self._reads(stream.of_feed(feed), window)

    def _with_details(self, stream: Stream, window: Window) -> Iterator[Read]:
        if stream.detail is None:
            yield from self._reads(stream, window)
            return
        where = f"pulling details of {stream.name} from {place(self._below_base(stream.detail))}"
        details = Details(self._transport, stream, self._details, self._below_base, where)
        for read in self._reads(stream, window):
            yield replace(read, rows=tuple([details.of(row) for row in read.rows]))

    def _reads(self, stream: Stream, window: Window) -> Iterator[Read]:
        """The window in pieces the source can answer; one that is too much is read in halves."""
        cursor, now = stream.cursor, dt.datetime.fromtimestamp(self._clock(), dt.UTC)
        left = list(cut_to_largest(window, cursor, now))[::-1]
        cap = cursor.cap if cursor is not None else None
        unanswered = 0
        while left:
            piece = left.pop()
            parts = halves(piece, cursor, now)
            fetched = 0
            try:
                for read in self._read_steadily(stream, piece):
                    fetched, unanswered = fetched + read.fetched, 0
                    yield read
            except AsksTooMuch as error:
                unanswered += isinstance(error, Transient)
                if parts is None or unanswered > _HALVINGS_BEFORE_IT_IS_DOWN:
                    raise
                left += parts[::-1]
                continue
            if cap is not None and fetched >= cap:
                if parts is None:
                    raise Permanent(
                        f"{self._where(stream)}: {cap} rows, the most it answers, in a window that "
                        "cannot be cut: some are missing; ask its vendor for another way"
                    )
                left += parts[::-1]

    def _read_steadily(self, stream: Stream, window: Window) -> Iterator[Read]:
        """Reads again from the start if rows move between two pages."""
        url, where = self._below_base(stream.relative_path), self._where(stream)
        for _ in range(_READINGS):
            try:
                yield from read_window(self._transport, stream, window, url=url, where=where)
            except DriftError:
                continue
            return
        raise Transient(
            f"{where}: rows moved between pages in {_READINGS} readings: "
            "pull when fewer people work, or order the stream by something that does not change"
        )

    def _below_base(self, path: str) -> str:
        base = self._transport.base_url.rstrip("/")
        return f"{base}/{path.lstrip('/')}" if path else base

    def _where(self, stream: Stream) -> str:
        """A page is always called by the declared address: a link or a parent's may hold ids."""
        declared = stream.relative_path
        if stream.parent is not None:
            declared = self._source.stream(stream.name).relative_path
        return f"pulling {stream.name} from {place(self._below_base(declared))}"

    def _server_time(self, headers: Mapping[str, str]) -> dt.datetime:
        date = header_date(headers.get("Date"))
        if date is None:
            return dt.datetime.fromtimestamp(self._clock(), dt.UTC)
        age = headers.get("Age", "").strip()
        seconds = (
            int(age) if age.isascii() and age.isdigit() and len(age) < len("9999999999") else 0
        )
        return date - dt.timedelta(seconds=seconds)
