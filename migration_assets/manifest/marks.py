"""How far pulling got: high-water marks, windows pulled to their end, parents read from the start.

Belongs here: what is committed alongside a page of rows. Does not belong here: the rows themselves
(``landing``), or deciding how far a mark may move (``pipeline``).
"""

from collections.abc import Iterable
from datetime import datetime

import sqlalchemy as sa

from migration_assets.manifest.records import Alongside, chunked, from_micros, to_micros
from migration_assets.manifest.schema import marks, parents, windows


def commit_alongside(
    connection: sa.Connection, stream: str, alongside: Alongside, *, run_id: int, now: int
) -> None:
    """Write down what a page brought with it, in the caller's transaction."""
    if alongside.seed is not None:
        _seed(connection, stream, min(to_micros(alongside.seed), now), run_id=run_id, now=now)
    if alongside.mark is not None:
        _advance(connection, stream, min(to_micros(alongside.mark), now), run_id=run_id, now=now)
    if alongside.window is not None:
        _close_window(connection, stream, alongside.window, run_id=run_id, now=now)
    if alongside.parents:
        _know(connection, stream, alongside.parents, now=now)


def mark_of(connection: sa.Connection, stream: str) -> int | None:
    """The high-water mark of ``stream`` in microseconds, or None before the first window."""
    found: int | None = connection.execute(
        sa.select(marks.c.watermark).where(marks.c.stream == stream)
    ).scalar()
    return found


def pulled_windows(connection: sa.Connection, stream: str) -> dict[str, datetime]:
    """When each partition of ``stream`` was last pulled to its end."""
    query = sa.select(windows.c.partition, windows.c.pulled_at).where(windows.c.stream == stream)
    return {row.partition: from_micros(row.pulled_at) for row in connection.execute(query)}


def known_parents(connection: sa.Connection, stream: str, keys: Iterable[str]) -> set[str]:
    """Those of ``keys`` whose rows were once read from the beginning."""
    found: set[str] = set()
    for part in chunked(keys):
        query = sa.select(parents.c.parent).where(
            parents.c.stream == stream, parents.c.parent.in_(part)
        )
        found.update(connection.execute(query).scalars())
    return found


def _seed(connection: sa.Connection, stream: str, watermark: int, *, run_id: int, now: int) -> None:
    if mark_of(connection, stream) is None:
        connection.execute(
            sa.insert(marks).values(stream=stream, watermark=watermark, moved_at=now, run_id=run_id)
        )


def _advance(
    connection: sa.Connection, stream: str, watermark: int, *, run_id: int, now: int
) -> None:
    _seed(connection, stream, watermark, run_id=run_id, now=now)
    connection.execute(
        sa.update(marks)
        .where(marks.c.stream == stream, marks.c.watermark < watermark)
        .values(watermark=watermark, moved_at=now, run_id=run_id)
    )


def _close_window(
    connection: sa.Connection, stream: str, window: tuple[str, int], *, run_id: int, now: int
) -> None:
    partition, rows = window
    connection.execute(
        sa.delete(windows).where(windows.c.stream == stream, windows.c.partition == partition)
    )
    connection.execute(
        sa.insert(windows).values(
            stream=stream, partition=partition, pulled_at=now, rows=rows, run_id=run_id
        )
    )


def _know(connection: sa.Connection, stream: str, keys: Iterable[str], *, now: int) -> None:
    new = set(keys) - known_parents(connection, stream, keys)
    if new:
        connection.execute(
            sa.insert(parents),
            [{"stream": stream, "parent": each, "read_at": now} for each in sorted(new)],
        )
