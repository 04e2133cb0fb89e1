"""The Puller: every row of a stream whose change time lies in a window, page by page.

Belongs here: what a pull is made of. Does not belong here: one reading of one window (``reading``),
the high-water mark and its lookback, landing, duplicates, absence (``pipeline``, ``manifest``). A
pull keeps no state: cut off anywhere, it is simply made again. (What a queue showed is remembered
until it is marked as read, see ``queues``; forgotten, it is shown again.)
"""

import datetime as dt
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from migration_assets.errors import Permanent, Transient
from migration_assets.legacy.budgets import RequestHistory
from migration_assets.legacy.description import Source, Stream
from migration_assets.legacy.description.queue import AcknowledgedQueue
from migration_assets.legacy.description.stream import Parent
from migration_assets.legacy.details import DetailCache, Details, DetailsInMemory
from migration_assets.legacy.failures import AsksTooMuch
from migration_assets.legacy.lookup import look_up, path_of_one
from migration_assets.legacy.origins import place
from migration_assets.legacy.parents import for_parent, keys_in, usable_keys
from migration_assets.legacy.passes import until_complete
from migration_assets.legacy.queues import Queues
from migration_assets.legacy.reading import Read, Window, checkpoint, is_filtered, read_window
from migration_assets.legacy.rows import PulledRow
from migration_assets.legacy.sighting import Sighting
from migration_assets.legacy.splitting import cut_to_largest, halves
from migration_assets.legacy.timestamps import floor_to_tick
from migration_assets.legacy.transport import Fetcher, Transport
from migration_assets.legacy.waits import header_date
from migration_assets.legacy.writing import RowWriter

_REPEATED_HOUR = dt.timedelta(hours=1)
_HALVINGS_BEFORE_IT_IS_DOWN = 10  # in a row: a thousandth of the window was too much as well


@dataclass(frozen=True)
class PulledPage:
    """Rows in the order they came.

    ``server_time`` is the source's own clock at the first response of the pull, the same on every
    page: nothing that changed before it is missing, so no mark may go beyond it. It is ``Date``
    less ``Age`` (what a cache kept may be that old), or our clock if there is no ``Date``.

    ``read_until`` is a checkpoint: every row of this pull that changed before it has been yielded,
    this page included, so that a pull cut off here may go on from there. Proven only by the steps
    of a walk and by finished pieces of a window; None for streams without a change time, with
    feeds or with parents. A row committed late is for the lookback, as it always is.
    Of a queue: what was marked as read at the source before then is on account with this page.

    ``total`` is how many rows the source says there are, of those it was asked for with this page.
    ``parents`` are the keys of parents all of whose pages have been yielded, this one included;
    each is named once.
    """

    rows: tuple[PulledRow, ...]
    server_time: dt.datetime
    read_until: dt.datetime | None = None
    total: int | None = None
    parents: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Asked:
    """What is asked of a pull."""

    window: Window
    whole: bool = False
    parents: Iterable[str] | None = None
    known_parents: Callable[[str], bool] | None = None

    def of_parent(self, key: str) -> "_Asked":
        """The same for one parent; for an unknown one from the beginning."""
        if self.known_parents is None or self.known_parents(key):
            return self
        return replace(self, window=Window(None, self.window.until))


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
        history: RequestHistory | None = None,
    ) -> None:
        """``history`` shares the source's limits with every puller that holds the same one."""
        self._details = details if details is not None else DetailsInMemory()
        self._source = source
        self._clock = clock
        self._teller = Transport(source, environ=environ, clock=clock, sleep=sleep, history=history)
        self._transport: Fetcher = self._teller
        self._queues = Queues(self._reads, self._tell, clock)

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
        known_parents: Callable[[str], bool] | None = None,
        whole: bool = False,
    ) -> Iterator[PulledPage]:
        """Every page of [since, until), at least one, its rows filtered again by our own clock.

        A row whose change time cannot be read is in every window, marked. If rows move between two
        pages, or a window proves too large for the source, it is read again: rows may come twice,
        but none is left out. ``parents`` are the keys to ask for where a stream is read parent by
        parent; without them all are asked for. One that ``known_parents`` does not know is read
        from the beginning: a patient who became visible today has notes of last year.

        With ``whole`` it is proven that no row is missing, as a sweep needs it before an absence
        means anything (see ``completeness``); the proof stands once the last page has come.
        """
        if any(end is not None and end.tzinfo is None for end in (since, until)):
            raise ValueError("a window needs ends with a time zone")
        described, window = self._source.stream(stream), Window(since, until)
        if whole and described.queue is not None:
            raise Permanent(
                f"{self._where(described)}: a queue shows what changed, never all there is: "
                "describe the list of all rows as a stream of its own to sweep it"
            )
        server_time: dt.datetime | None = None
        read_until: dt.datetime | None = None
        asked = _Asked(window, whole, parents, known_parents)
        for read in self._of_all_parents(described, asked):
            server_time = server_time or self._server_time(read.headers)
            moment = checkpoint(described, window, read.read_until, server_time)
            if moment is not None and not whole:
                read_until = max(moment, read_until or moment)
            yield PulledPage(read.rows, server_time, read_until, read.total, read.parents)
        if server_time is None:  # no parent, no request
            yield PulledPage((), self._server_time({}))

    def time_slack(self, stream: str) -> dt.timedelta:
        """By how much change times may be misread: zone-less ones of the hour clocks repeat."""
        return time_slack(self._source.stream(stream))

    def floored(self, stream: str, moment: dt.datetime) -> dt.datetime:
        """The tick a moment lies in: a row of 10:00:29 that is shown as 10:00 is still after it."""
        cursor = self._source.stream(stream).cursor
        return moment if cursor is None else floor_to_tick(cursor, moment)

    def asks_for(self, stream: str) -> tuple[dt.datetime | None, dt.datetime | None]:
        """The change times that a whole reading asks for; None is an open end.

        An API with a largest window wants both ends: what is dated before its records begin, or in
        the future, no reading shows.
        """
        cursor = self._source.stream(stream).cursor
        if cursor is None or cursor.max_window_seconds is None:
            return None, None
        return cursor.earliest, dt.datetime.fromtimestamp(self._clock(), dt.UTC)

    def can_look_up(self, stream: str) -> bool:
        """True if one row can be asked for by its key alone."""
        return path_of_one(self._source.stream(stream)) is not None

    def look_up(self, stream: str, key: str) -> Sighting:
        """Whether the source still has a row.

        A 404 is taken for an answer about the row, not about the path: whoever asks makes sure
        first that a row known to be there is found.
        """
        described = self._source.stream(stream)
        path = path_of_one(described) or described.relative_path
        where = f"looking up a row of {stream} at {place(self._below_base(path))}"
        return look_up(self._transport, described, key, url=self._below_base, where=where)

    def writer(self, stream: str) -> RowWriter | None:
        """How rows of a stream are written back, or None where that is not described."""
        described = self._source.stream(stream)
        if described.write is None:
            return None
        return RowWriter(self._teller, described, self._source.http, self._below_base)

    def acknowledge(self, stream: str) -> Iterator[PulledPage]:
        """Mark as read at the source what the last pull of a queue showed; nothing for others.

        Call it once all pages of that pull are on account, the mark included, and land what it
        yields: rows that came in between may be marked along with the rest. A pull that was not
        read to its end, or had an ``until``, has nothing marked.
        """
        described = self._source.stream(stream)
        for read in self._with_details(described, self._queues.marked_as_read(described)):
            yield PulledPage(read.rows, self._server_time(read.headers))

    def _of_all_parents(self, stream: Stream, asked: _Asked) -> Iterator[Read]:
        if stream.parent is None:
            yield from self._with_feeds(stream, asked)
            return
        found: Iterable[str | None] | None = asked.parents
        if found is None:
            found = self._parent_keys(stream.parent, stream, whole=asked.whole)
        finished: list[str] = []
        for key in usable_keys(found):
            held: Read | None = None  # one page, to know which is a parent's last
            for read in self._with_feeds(for_parent(stream, key), asked.of_parent(key)):
                if held is not None:
                    yield held
                rows = tuple([replace(row, parent=key) for row in read.rows])
                held = replace(read, rows=rows)
            finished.append(key)
            if held is not None:
                yield replace(held, parents=tuple(finished))
                finished = []
        if finished:  # their windows end before there are records: nothing was asked
            yield Read((), 0, {}, parents=tuple(finished))

    def _parent_keys(self, parent: Parent, stream: Stream, *, whole: bool) -> Iterator[str | None]:
        if parent.ids_file is not None:
            yield from keys_in(parent.ids_file, stream=stream.name)
        elif parent.stream is not None:
            for page in self.pages(parent.stream, None, None, whole=whole):
                yield from (row.key for row in page.rows if not row.deleted)

    def _with_feeds(self, stream: Stream, asked: _Asked) -> Iterator[Read]:
        """Deletions come last: a row deleted while we read is not brought back by its old self."""
        yield from self._with_details(stream, self._reads(stream, asked.window, whole=asked.whole))
        for feed in stream.feeds:
            yield from self._reads(stream.of_feed(feed), asked.window, whole=asked.whole)

    def _with_details(self, stream: Stream, reads: Iterator[Read]) -> Iterator[Read]:
        if stream.detail is None:
            yield from reads
            return
        where = f"pulling details of {stream.name} from {place(self._below_base(stream.detail))}"
        details = Details(self._transport, stream, self._details, self._below_base, where)
        for read in reads:
            yield replace(read, rows=tuple([details.of(row) for row in read.rows]))

    def _reads(self, stream: Stream, window: Window, *, whole: bool = False) -> Iterator[Read]:
        """The window in pieces the source can answer; one that is too much is read in halves."""
        if stream.queue is not None:
            yield from self._queues.unread(stream, window)
            return
        cursor, now = stream.cursor, dt.datetime.fromtimestamp(self._clock(), dt.UTC)
        left = list(cut_to_largest(window, cursor, now))[::-1]
        cap = cursor.cap if cursor is not None else None
        unanswered = 0
        while left:
            piece = left.pop()
            parts = halves(piece, cursor, now)
            fetched = 0
            try:
                for read in self._read_steadily(stream, piece, whole=whole):
                    fetched = read.fetched if read.begins else fetched + read.fetched
                    unanswered = 0
                    cut_off = cap is not None and fetched >= cap
                    yield replace(read, read_until=None) if cut_off else read
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

    def _read_steadily(self, stream: Stream, window: Window, *, whole: bool) -> Iterator[Read]:
        """Reads again from the start if rows move between two pages."""
        url, where = self._below_base(stream.relative_path), self._where(stream)
        yield from until_complete(
            lambda tally: read_window(
                self._transport, stream, window, url=url, where=where, tally=tally
            ),
            stream,
            whole=whole,
            filtered=is_filtered(stream, window),
            where=where,
        )

    def _tell(self, stream: Stream, queue: AcknowledgedQueue, path: str, body: object) -> None:
        where = f"marking {stream.name} as read at {place(self._below_base(queue.path))}"
        gone = frozenset({404, 410}) if queue.ids is None else frozenset[int]()
        self._teller.tell(queue.method, self._below_base(path), body, where=where, gone=gone)

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


def time_slack(stream: Stream) -> dt.timedelta:
    """By how much change times may be misread: zone-less ones of the hour that clocks repeat."""
    repeats = stream.cursor is not None and stream.cursor.repeats_an_hour
    return _REPEATED_HOUR if repeats else dt.timedelta(0)
