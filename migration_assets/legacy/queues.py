"""Queue feeds: what a pull shows of one, and marking as read what has been landed since.

Belongs here: what was handed out, and in which order peeking, landing and taking follow each other.
Does not belong here: pages (``reading``), requests (``transport``), landing (``pipeline``).

Why nothing is lost. A pull of a consuming queue begins with what was marked as read since the mark,
so that all of it before the pull's first answer is on account once the pull has landed: the mark
may move to that answer's time. Whatever is taken, is taken later than that; cut off before it is
landed, it is among what the next pull reads again. As many rows are taken as were peeked, always
from the head of the queue: an offset into a queue that shrinks would pass over rows. An answer lost
on the way, or a request that takes effect after we gave it up, changes none of this.

A queue that is told by name forgets what it is told and nothing else.
"""

import copy
import datetime as dt
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Protocol, TypeAlias
from urllib.parse import quote

import orjson

from migration_assets.legacy.description import Stream
from migration_assets.legacy.description.queue import AcknowledgedQueue, ConsumingQueue
from migration_assets.legacy.reading import Read, Window
from migration_assets.legacy.rows import PulledRow, broken, value_at
from migration_assets.legacy.timestamps import lower_bound, upper_bound

_EVERYTHING = Window(None, None)
_END_OF_TIME = dt.datetime.max.replace(tzinfo=dt.UTC)

Event: TypeAlias = str | int


class ReadPages(Protocol):
    """Reads a stream that is no queue."""

    def __call__(self, stream: Stream, window: Window) -> Iterator[Read]:
        """Its pages."""


class Tell(Protocol):
    """Tells the source something."""

    def __call__(self, stream: Stream, queue: AcknowledgedQueue, path: str, body: Any) -> None:
        """Send ``body`` to a path below the base URL; None is no body."""


@dataclass
class _HandedOut:
    """What the last pull showed: taken off the queue once that pull was read to its end."""

    whole: bool = False
    rows: int = 0
    seen: set[bytes] = field(default_factory=set)
    events: dict[Event, None] = field(default_factory=dict)


class Queues:
    """The queues of one source. State is what was handed out and not yet marked as read."""

    def __init__(self, read: ReadPages, tell: Tell, clock: Callable[[], float]) -> None:
        self._read, self._tell, self._clock = read, tell, clock
        self._handed_out: dict[str, _HandedOut] = {}

    def unread(self, stream: Stream, window: Window) -> Iterator[Read]:
        """What was marked as read in the window, then all that is not; nothing is marked.

        ``read_until`` of the latter: what was marked before then has all come, as far as the
        source's clock reaches. Without ``since`` nothing is read again: we have marked nothing.
        """
        queue = stream.queue
        handed_out = self._handed_out[stream.name] = _HandedOut()
        reached = _END_OF_TIME
        if isinstance(queue, ConsumingQueue):
            if window.since is not None:
                again, reached = self._again(stream, queue, window.since)
                yield from self._read(again, _EVERYTHING)
            stream = _with(stream, queue.peek)
        event = queue.event if isinstance(queue, AcknowledgedQueue) else None
        for page in self._read(replace_queue(stream), _EVERYTHING):
            handed_out.rows = page.fetched + (0 if page.begins else handed_out.rows)
            if event is None:
                handed_out.seen.update(filter(None, map(_digest, page.rows)))
            else:
                handed_out.events.update(dict.fromkeys(_events(page.rows, event)))
            yield replace(page, read_until=reached)
        handed_out.whole = window.until is None

    def marked_as_read(self, stream: Stream) -> Iterator[Read]:
        """Mark as read what the last pull handed out; yields rows it had not.

        Nothing is asked or told unless that pull was read to its end.
        """
        handed_out = self._handed_out.pop(stream.name, None)
        if handed_out is None or not handed_out.whole:
            return
        if isinstance(stream.queue, ConsumingQueue):
            yield from self._taken(stream, stream.queue, handed_out)
        elif stream.queue is not None:
            self._acknowledge(stream, stream.queue, list(handed_out.events))

    def _again(
        self, stream: Stream, queue: ConsumingQueue, since: dt.datetime
    ) -> tuple[Stream, dt.datetime]:
        """The stream of what was marked as read since then, and how far that reaches."""
        if queue.reread is None:
            raise TypeError("a consuming queue is loaded only with reread")
        cursor = queue.reread.cursor
        lookback = dt.timedelta(seconds=cursor.lookback_seconds)
        bounds = {queue.reread.param: (lower_bound(cursor, since - lookback),)}
        reached = _END_OF_TIME
        if queue.reread.until_param is not None:
            # Ahead of our clock, which may be slow: what is beyond was never asked for.
            reached = dt.datetime.fromtimestamp(self._clock(), dt.UTC) + lookback
            bounds[queue.reread.until_param] = (upper_bound(cursor, reached),)
        return replace_queue(_with(stream, {**queue.peek, **bounds})), reached

    def _taken(
        self, stream: Stream, queue: ConsumingQueue, handed_out: _HandedOut
    ) -> Iterator[Read]:
        left = handed_out.rows
        while left > 0:
            taken = 0
            head = self._read(_head_of(_with(stream, queue.take), left), _EVERYTHING)
            for page in islice(head, 1):
                taken += page.fetched
                rows = [row for row in page.rows if _digest(row) not in handed_out.seen]
                if rows:
                    yield replace(page, rows=tuple(rows))
            if taken == 0:
                return
            left -= taken

    def _acknowledge(self, stream: Stream, queue: AcknowledgedQueue, events: list[Event]) -> None:
        path = queue.path.replace("{stream}", stream.name)
        if queue.ids is None:
            for event in events:
                if event not in (".", ".."):  # a step in a path, which no quoting prevents
                    named = path.replace("{event}", quote(str(event), safe=""))
                    self._tell(stream, queue, named, None)
            return
        for begin in range(0, len(events), queue.size):
            body = _with_ids(queue, events[begin : begin + queue.size])
            self._tell(stream, queue, path, body)


def replace_queue(stream: Stream) -> Stream:
    """The stream as one that is simply read."""
    return stream.model_copy(update={"queue": None})


def _with(stream: Stream, params: Any) -> Stream:
    return stream.model_copy(update={"params": {**stream.params, **params}})


def _head_of(stream: Stream, rows: int) -> Stream:
    """The stream with a first page of so many rows at most, where the source can be told."""
    pager = stream.pager
    if getattr(pager, "size_param", None) is not None:
        pager = pager.model_copy(update={"size": min(getattr(pager, "size", rows), rows)})
    return stream.model_copy(update={"pager": pager, "queue": None})


def _digest(row: PulledRow) -> bytes | None:
    """Equal for equal rows; None for one that cannot be told from others."""
    try:
        content = orjson.dumps(row.row, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return None
    return hashlib.blake2b(content, digest_size=16).digest()


def _events(rows: tuple[PulledRow, ...], path: str) -> Iterator[Event]:
    """The names of events; a row without a usable one stays in the queue and comes again."""
    found = (value_at(row.row, path) for row in rows)
    yield from (event for event in found if _names_something(event))


def _names_something(event: Any) -> bool:
    if isinstance(event, str):
        return event != "" and not broken(event)
    return isinstance(event, int) and not isinstance(event, bool)


def _with_ids(queue: AcknowledgedQueue, events: list[Event]) -> Any:
    if queue.ids is None or queue.ids == "$":
        return events
    body = copy.deepcopy(dict(queue.body))
    *through, last = queue.ids.split(".")
    place: Any = body
    for part in through:
        place = place.setdefault(part, {})
    place[last] = events
    return body
