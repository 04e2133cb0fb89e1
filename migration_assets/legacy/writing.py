"""One row of the source: read as it lies, and written, created or deleted there.

Belongs here: requests about one row, and what an answer to a write proves. Does not belong here:
what is written, or what follows (``operations.writing_back``).

An answer to a write proves little: 200 may hold an error, 500 may come of what was written, and
none at all of either. So whoever writes reads the row again and decides by that; the answer only
says whether it is worth trying once more. Nothing is ever sent again from here.
"""

import copy
import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from migration_assets.errors import Permanent
from migration_assets.legacy.attempts import Answer, Method
from migration_assets.legacy.description import Http, Stream
from migration_assets.legacy.description.writing import LockField, Writing
from migration_assets.legacy.failures import Failure
from migration_assets.legacy.rows import ABSENT, PulledRow, row_reader, value_at
from migration_assets.legacy.transport import Transport
from migration_assets.legacy.waits import wait_before

_GONE = frozenset({404, 410})
_STALE = frozenset({409, 412, 428})
_NOT_OF_THE_ROW = frozenset({401, 403, 405, 406, 407, 408, 415, 425, 429})
_FOR_WHAT_IT_HOLDS = range(400, 500)


class Told(enum.Enum):
    """What the source says to a write."""

    TAKEN = "taken"
    STALE = "stale"  # the row is not as it was when it was read
    GONE = "gone"
    REFUSED = "refused"  # for what it holds: the same again is refused again
    UNSURE = "unsure"  # no answer, or one that does not say whether it was written


@dataclass(frozen=True)
class Said:
    """What the source answered to a write. ``key`` is that of a new row, where it was told."""

    told: Told
    status: int | None = None
    key: str | None = None
    asked: float | None = None


@dataclass(frozen=True)
class Lies:
    """A row as it lies; ``row`` None: it is gone. ``lock`` is what ``If-Match`` takes."""

    row: PulledRow | None
    lock: str | None = field(default=None, repr=False)


class RowWriter:
    """Reads and writes single rows of one stream."""

    def __init__(
        self, transport: Transport, stream: Stream, http: Http, url: Callable[[str], str]
    ) -> None:
        if stream.write is None:
            raise TypeError("the stream is not described as one that is written")
        self._transport, self._stream, self._http, self._url = transport, stream, http, url
        self._how: Writing = stream.write
        self._read = row_reader(stream)

    @property
    def key_field(self) -> str:
        """The dotted path of the row's key."""
        return self._stream.id[0]

    @property
    def creates(self) -> bool:
        """Whether new rows may be made."""
        return self._how.create is not None

    @property
    def deletes(self) -> bool:
        """Whether rows may be deleted."""
        return self._how.delete

    @property
    def locks(self) -> bool:
        """Whether a lock keeps somebody else's edit from being written over."""
        return self._how.if_match != "none"

    @property
    def repeats_safely(self) -> bool:
        """Whether a new row that is sent twice is one row."""
        return self._how.once is not None

    @property
    def kept_by_the_source(self) -> tuple[str, ...]:
        """Dotted paths of fields that say nothing about whether a row was edited."""
        cursor = self._stream.cursor
        return (*self._stream.volatile, *([cursor.field] if cursor is not None else []))

    def wait_before(self, attempt: int, asked: float | None) -> float:
        """Seconds before the attempt after ``attempt``, at most what the description permits."""
        return min(wait_before(attempt, asked, self._http), self._http.max_wait)

    def read(self, key: str) -> Lies:
        """The row as it lies now.

        Raises:
            Permanent, Transient: as the transport does.
        """
        where = f"reading a row of {self._stream.name} before writing it back"
        answer = self._transport.fetch(self._address(key), (), where=where, gone=_GONE)
        if answer.skipped:
            return Lies(None)
        found = value_at(answer.body, self._how.select)
        row = self._read(None if found is ABSENT else found, flawed=answer.flawed)
        return Lies(None if row.deleted else row, self._lock(answer, row))

    def write(
        self, key: str, row: Mapping[str, Any], fields: Mapping[str, Any], lies: Lies
    ) -> Said:
        """Send ``fields`` of a row, or all of ``row``, as the description says."""
        what = fields if self._how.body == "fields" else without(row, self._how.leave_out)
        return self._sent(self._how.method, self._address(key), self._body(what), lies)

    def create(self, row: Mapping[str, Any], *, once: str) -> Said:
        """Send a new row; ``once`` names it, for a source that knows a repeated one by its name."""
        path = (self._how.create or "").replace("{stream}", self._stream.name)
        headers = {} if self._how.once is None else {self._how.once: once}
        return self._sent("POST", self._url(path), self._body(row), Lies(None), headers)

    def delete(self, key: str, lies: Lies) -> Said:
        """Have the source delete a row."""
        return self._sent("DELETE", self._address(key), None, lies)

    def _sent(
        self,
        method: Method,
        url: str,
        body: Any,
        lies: Lies,
        headers: Mapping[str, str] | None = None,
    ) -> Said:
        where = f"writing a row of {self._stream.name} back"
        if lies.row is not None and lies.lock is None and self.locks:
            raise Permanent(
                f"{where}: the row came without what write.if_match names, so that nothing would "
                "keep somebody else's edit from being written over; correct the description"
            )
        lock = {} if lies.lock is None else {"If-Match": lies.lock}
        answer = self._transport.write(
            method, url, body, where=where, headers={**lock, **(headers or {})}
        )
        if isinstance(answer, Answer):
            found = value_at(answer.body, self._how.create_select)
            row = self._read(found) if isinstance(found, dict) else None
            return Said(Told.TAKEN, answer.status, None if row is None else row.key)
        return Said(self._means(answer, where), answer.status, asked=answer.asked)

    def _means(self, failure: Failure, where: str) -> Told:
        status = failure.status
        if status in _STALE:
            return Told.STALE
        if status in _GONE:
            return Told.GONE
        if failure.again or status is None or status >= _FOR_WHAT_IT_HOLDS.stop:
            if status is None and not failure.again and failure.lasting:
                raise failure.error(where, 1, self._transport.variables)
            return Told.UNSURE
        if status in _FOR_WHAT_IT_HOLDS and status not in _NOT_OF_THE_ROW:
            return Told.REFUSED
        raise failure.error(where, 1, self._transport.variables)

    def _lock(self, answer: Answer, row: PulledRow) -> str | None:
        lock = self._how.if_match
        if isinstance(lock, LockField):
            found = value_at(row.row, lock.field)
            return None if found is ABSENT or found is None else str(found)
        return answer.headers.get("ETag") if lock == "etag" else None

    def _address(self, key: str) -> str:
        path = self._how.path.replace("{stream}", self._stream.name)
        return self._url(path.replace("{id}", quote(key, safe="")))

    def _body(self, what: Mapping[str, Any]) -> Any:
        if self._how.into is None:
            return dict(what)
        body: Any = dict(what)
        for name in reversed(self._how.into.split(".")):
            body = {name: body}
        return body


def without(row: Mapping[str, Any], paths: tuple[str, ...]) -> dict[str, Any]:
    """The row without the fields at these dotted paths."""
    left: dict[str, Any] = copy.deepcopy(dict(row))
    for path in paths:
        *through, last = path.split(".")
        place: Any = left
        for name in through:
            place = place.get(name) if isinstance(place, dict) else None
        if isinstance(place, dict):
            place.pop(last, None)
    return left
