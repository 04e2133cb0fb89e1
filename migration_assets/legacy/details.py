"""Whole rows where a list holds only parts of them: one request per row, unless it is unchanged.

Belongs here: the detail of a row and what is kept of it. Does not belong here: the list
(``reading``), or where a cache that outlives a process is kept (its owner hands it in).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol
from urllib.parse import quote

from migration_assets.legacy.description import Stream
from migration_assets.legacy.rows import ABSENT, PulledRow, row_reader, value_at
from migration_assets.legacy.transport import Answer, Fetcher

_GONE = frozenset({404, 410})


class DetailCache(Protocol):
    """Details by stream, key and change time: the same time means the same detail.

    One may be read through to rows that were landed, and keep nothing itself. It then finds only a
    row that is live, was landed without a problem, and whose own change time is the one asked for.
    """

    def get(self, stream: str, key: str, changed_at: datetime) -> Any:
        """The detail kept, or None."""

    def put(self, stream: str, key: str, changed_at: datetime, detail: Any) -> None:
        """Keep a detail; an older one of the same key may be forgotten."""


class DetailsInMemory:
    """Keeps the latest detail of up to ``most`` rows, for as long as the puller lives."""

    def __init__(self, most: int = 10_000) -> None:
        self._kept: dict[tuple[str, str], tuple[datetime, Any]] = {}
        self._most = most

    def get(self, stream: str, key: str, changed_at: datetime) -> Any:
        """The detail kept, or None."""
        found = self._kept.get((stream, key))
        return found[1] if found is not None and found[0] == changed_at else None

    def put(self, stream: str, key: str, changed_at: datetime, detail: Any) -> None:
        """Keep a detail, forgetting the one that was kept longest if there are too many."""
        self._kept.pop((stream, key), None)
        self._kept[(stream, key)] = (changed_at, detail)
        if len(self._kept) > self._most:
            del self._kept[next(iter(self._kept))]


@dataclass(frozen=True)
class Details:
    """Fetches the details of one stream's rows."""

    fetcher: Fetcher
    stream: Stream
    cache: DetailCache
    url: Callable[[str], str]
    where: str

    def of(self, row: PulledRow) -> PulledRow:
        """The row with its detail for content, under the key and change time of the list.

        A tombstone or a row with a problem has none. ``detail-missing``: it is in the list but
        gone. ``detail-of-another``: what came has another key.
        """
        if row.key is None or row.problem is not None or row.deleted:
            return row
        if row.key in (".", ".."):  # a step in a path, which no quoting prevents
            return replace(row, problem="id-not-addressable")
        changed_at = row.changed_at
        if changed_at is not None:
            kept = self.cache.get(self.stream.name, row.key, changed_at)
            if kept is not None:
                return self._read(row, kept, flawed=False)
        answer = self._fetch(row.key)
        if answer.skipped:
            return replace(row, problem="detail-missing")
        detail = value_at(answer.body, self.stream.detail_select)
        read = self._read(row, detail, flawed=answer.flawed)
        # A detail that is newer than its list must not be taken for the list's version later.
        if changed_at is not None and read.problem is None and read.changed_at == changed_at:
            self.cache.put(self.stream.name, row.key, changed_at, detail)
        return read

    def _read(self, row: PulledRow, detail: Any, *, flawed: bool) -> PulledRow:
        read = row_reader(self.stream)(None if detail is ABSENT else detail, flawed=flawed)
        if read.problem == "change-time-unreadable":  # it is in the list only
            read = replace(read, problem=None)
        if read.problem is None and read.key != row.key:
            read = replace(read, problem="detail-of-another")
        return replace(read, key=row.key, changed_at=read.changed_at or row.changed_at)

    def _fetch(self, key: str) -> Answer:
        template = (self.stream.detail or "").replace("{stream}", self.stream.name)
        url = self.url(template.replace("{id}", quote(key, safe="")))
        return self.fetcher.fetch(url, (), where=self.where, gone=_GONE)
