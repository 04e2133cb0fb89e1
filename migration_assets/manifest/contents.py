"""What landed rows hold, in bulk and read only: for profiles, registers and samples.

Belongs here: streaming rows in landing order, in transactions of a page each, so that nobody waits
for a reader. Does not belong here: what is made of them, or the state of a unit.
"""

import hashlib
import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from migration_assets.manifest.outages import Database
from migration_assets.manifest.payload import unpack
from migration_assets.manifest.records import chunked, from_micros
from migration_assets.manifest.schema import units
from migration_assets.manifest.sealing import seals_of
from migration_assets.manifest.sign_off import SignOffReads

_PAGE = 2_000
_NAMES = 20_000


@dataclass(frozen=True)
class Content:
    """A landed row that is not deleted, and the reason its unit is held back for, if any."""

    key: str
    row: Any
    changed_at: datetime | None
    reason: str | None


class Contents:
    """Reads what is on account of any stream."""

    def __init__(self, read: Database) -> None:
        """``read`` is an engine for transactions that change nothing."""
        self._read = read
        self.sign_off = SignOffReads(read)

    def counts(self) -> dict[str, tuple[int, int]]:
        """Rows of every stream, and how many of them were deleted at the source."""
        deleted = sa.func.sum(sa.case((units.c.deleted, 1), else_=0))
        query = sa.select(units.c.stream, sa.func.count(), deleted).group_by(units.c.stream)
        with self._read.begin() as connection:
            return {row[0]: (row[1], int(row[2])) for row in connection.execute(query)}

    def purged(self, stream: str | None = None) -> int:
        """Units whose row was dropped by a purge: of one stream, or of all."""
        query = sa.select(sa.func.count()).where(sa.func.length(units.c.payload) == 0)
        if stream is not None:
            query = query.where(units.c.stream == stream)
        with self._read.begin() as connection:
            return int(connection.execute(query).scalar_one())

    def rows(self, stream: str) -> Iterator[list[Content]]:
        """Every row that is neither deleted nor purged, page by page."""
        after = 0
        while True:
            page = self._page(stream, units.c.id > after)
            if page:
                yield [content for _, content in page]
            if len(page) < _PAGE:
                return
            after = page[-1][0]

    def sample(self, stream: str, *, size: int, seed: int) -> Iterator[list[Content]]:
        """``size`` rows by lot, page by page; the same seed draws the same keys again.

        Lots are drawn by key, so that rows which land later displace few of a sample.
        """
        drawn = heapq.nsmallest(size, self._lots(stream, seed))
        ids = sorted(unit for _, unit in drawn)
        for start in range(0, len(ids), _PAGE // 4):  # SQLite's limit of parameters
            page = self._page(stream, units.c.id.in_(ids[start : start + _PAGE // 4]))
            if page:
                yield [content for _, content in page]

    def keys_known(self, stream: str, keys: Sequence[str]) -> dict[str, bool]:
        """Those of ``keys`` that the stream has, each with whether its row was deleted."""
        found: dict[str, bool] = {}
        with self._read.begin() as connection:
            for part in chunked(keys):
                query = sa.select(units.c.key, units.c.deleted).where(
                    units.c.stream == stream, units.c.key.in_(part)
                )
                found.update((row.key, row.deleted) for row in connection.execute(query))
        return found

    def _page(self, stream: str, which: sa.ColumnElement[bool]) -> list[tuple[int, Content]]:
        query = (
            sa.select(units.c.id, units.c.key, units.c.payload, units.c.changed_at, units.c.reason)
            .where(units.c.stream == stream, units.c.deleted.is_(False), which)
            .where(sa.func.length(units.c.payload) > 0)
            .order_by(units.c.id)
            .limit(_PAGE)
        )
        with self._read.begin() as connection:
            found = connection.execute(query).all()
            seals = seals_of(connection)
        return [
            (
                row.id,
                Content(
                    row.key,
                    unpack(row.payload, seals),
                    None if row.changed_at is None else from_micros(row.changed_at),
                    row.reason,
                ),
            )
            for row in found
        ]

    def _lots(self, stream: str, seed: int) -> Iterator[tuple[bytes, int]]:
        after = 0
        while True:
            query = (
                sa.select(units.c.id, units.c.key)
                .where(units.c.stream == stream, units.c.deleted.is_(False), units.c.id > after)
                .where(sa.func.length(units.c.payload) > 0)
                .order_by(units.c.id)
                .limit(_NAMES)
            )
            with self._read.begin() as connection:
                found = connection.execute(query).all()
            for row in found:
                yield hashlib.blake2b(f"{seed} {row.key}".encode(), digest_size=8).digest(), row.id
            if len(found) < _NAMES:
                return
            after = found[-1].id
