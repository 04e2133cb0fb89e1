"""What was done to payloads as a whole: sealed with another key, or purged; and by whom.

Belongs here: the records of it, and giving back the space. Does not belong here: which payloads
(``rotation``, ``purges``).

Space. SQLite is opened with ``secure_delete``: what is overwritten or dropped is zeroed in the file
at once (measured with 60,000 rows: landing 34,000 to 38,000 rows a second with it and 32,000 to
36,000 without, dropping 1.0 s either way, which is noise), and the log beside it is emptied at the
end. The pages stay in the file and take later rows. ``VACUUM`` gives them back (12 MB to 7 MB, 0.1
s), but writes the whole file anew and locks it meanwhile, so only who asks gets it; auto_vacuum
would move pages at every commit, and cannot be switched on in a file that is there. PostgreSQL
overwrites nothing: old versions of a row stay in the table until VACUUM and new rows take their
place; VACUUM FULL, for who asks, writes the table anew. Backups and WAL archives keep what they
have.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from migration_assets.manifest.records import from_micros
from migration_assets.manifest.schema import custody

SEALED = "sealed"
PURGED = "purged"


@dataclass(frozen=True)
class Act:
    """One purge of a stream, or one sealing; ``terms`` are the policy, or the key's name."""

    act: str
    stream: str | None
    terms: str
    by: str
    started_at: datetime
    finished_at: datetime | None
    """None: it was cut off; what it had done until then counts and stays done."""
    rows: int
    bytes: int


class Custody:
    """The records of one manifest; each method is one transaction."""

    def __init__(
        self,
        begin: Callable[[], AbstractContextManager[sa.Connection]],
        read: Callable[[], AbstractContextManager[sa.Connection]],
        now: Callable[[], int],
    ) -> None:
        self._begin = begin
        self._reading = read
        self._now = now

    def begin(self, act: str, terms: str, by: str, *, stream: str | None = None) -> int:
        """Write down that it begins; returns the record's number."""
        values = {"act": act, "stream": stream, "terms": terms, "by": by, "rows": 0, "bytes": 0}
        with self._begin() as connection:
            made = connection.execute(
                sa.insert(custody).values(started_at=self._now(), **values)
            ).inserted_primary_key
        return int(made[0]) if made else 0

    def finish(self, number: int) -> None:
        """Write down that it came to its end."""
        with self._begin() as connection:
            connection.execute(
                sa.update(custody).where(custody.c.id == number).values(finished_at=self._now())
            )

    def latest(self, limit: int = 20) -> list[Act]:
        """What was done last, newest first."""
        query = sa.select(custody).order_by(custody.c.id.desc()).limit(limit)
        with self._reading() as connection:
            found = connection.execute(query).all()
        return [
            Act(
                row.act,
                row.stream,
                row.terms,
                row.by,
                from_micros(row.started_at),
                None if row.finished_at is None else from_micros(row.finished_at),
                row.rows,
                row.bytes,
            )
            for row in found
        ]


def add_to(connection: sa.Connection, number: int, *, rows: int, size: int) -> None:
    """Count what was done, in the transaction that did it."""
    connection.execute(
        sa.update(custody)
        .where(custody.c.id == number)
        .values(rows=custody.c.rows + rows, bytes=custody.c.bytes + size)
    )


def empty_the_log(engine: sa.Engine) -> None:
    """Old contents leave SQLite's log too, unless somebody is reading: the next end of it will."""
    if engine.dialect.name == "sqlite":
        _outside_transactions(engine, "PRAGMA wal_checkpoint(TRUNCATE)")


def release_space(engine: sa.Engine) -> None:
    """Give the disk back what is no longer used; locks the account for as long as that takes."""
    if engine.dialect.name == "sqlite":
        _outside_transactions(engine, "VACUUM")
        empty_the_log(engine)
        return
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM (FULL) units")


def _outside_transactions(engine: sa.Engine, statement: str) -> None:
    raw = engine.raw_connection()
    try:
        cursor = raw.cursor()
        cursor.execute(statement)
        cursor.fetchall()
        cursor.close()
    finally:
        raw.close()
