"""When the database does not answer: what it says in our own words, and waiting for it.

Belongs here: which failures a minute's patience may clear, and which transactions are begun or
made again. Does not belong here: opening the database (``engine``), or what a transaction holds.

Beginning is always tried again: nothing was done yet. A transaction that broke off is made again
as a whole only by ``Database.again``, for work that may be made twice: when the answer to COMMIT
is lost, nobody knows whether it took effect. That is worth it where giving up would forget what
cannot be asked for again so cheaply: what Medplum answered, a page that was pulled, a lease that
would stop the next run for ten minutes. What a person decides is not made again: they see the
message and look.
"""

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa

from migration_assets.errors import MigrationError, Permanent, Transient

_Made = TypeVar("_Made")
_There_co = TypeVar("_There_co", covariant=True)

PAUSES = (0.1, 0.4, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0, 15.0, 15.0)
"""Seconds before each further try, 90 in all: a restart or a failover takes less than a minute."""
PATIENCE_SECONDS = 120.0
"""No further try after this long: a try for a locked SQLite file waits a minute by itself."""

_SQLITE = {  # primary result codes
    3: "read-only",  # PERM
    5: "away",  # BUSY
    6: "away",  # LOCKED
    8: "read-only",  # READONLY
    10: "io",  # IOERR
    11: "damaged",  # CORRUPT
    13: "full",  # FULL
    14: "away",  # CANTOPEN: a network folder that is gone
    26: "damaged",  # NOTADB
}
_POSTGRES = {
    "25006": "away",  # read-only: a standby, until the failover is over
    "40001": "away",  # serialization failure
    "40P01": "away",  # deadlock
    "53100": "full",  # disk full
    "53300": "away",  # too many connections
    "55P03": "away",  # lock not available
    "57P01": "away",  # admin shutdown
    "57P02": "away",  # crash shutdown
    "57P03": "away",  # cannot connect now
    "58030": "io",  # io error
    "XX001": "damaged",  # data corrupted
    "XX002": "damaged",  # index corrupted
}


class Away(Transient):
    """The database is gone, or held by another process: a minute's patience may clear it."""


class Repeatable(Protocol[_There_co]):
    """What a transaction holds, told whether it may have been committed before."""

    def __call__(self, connection: sa.Connection, *, repeated: bool) -> _There_co:
        """Do it."""


@dataclass(frozen=True)
class Database:
    """An engine whose transactions wait while the database is away."""

    engine: sa.Engine
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """One transaction; only its beginning is waited for."""
        with self._patiently(self._begun) as connection, connection:
            yield connection
            connection.commit()

    def again(self, work: Callable[[sa.Connection], _Made]) -> _Made:
        """One transaction, made again as a whole if the database goes away in the middle.

        ``work`` must end the same when it was committed before.

        Raises:
            Away: the database stayed away.
        """

        def whole(connection: sa.Connection, *, repeated: bool) -> _Made:  # noqa: ARG001 - the same
            return work(connection)

        return self.at_most_once(whole)

    def at_most_once(self, work: Repeatable[_Made]) -> _Made:
        """As ``again``, for work that must look what is there when it is ``repeated``."""
        tries = itertools.count()

        def whole() -> _Made:
            with self._begun() as connection:
                made = work(connection, repeated=next(tries) > 0)
                connection.commit()
            return made

        return self._patiently(whole)

    def dispose(self) -> None:
        """Give back the connections."""
        self.engine.dispose()

    def _begun(self) -> sa.Connection:
        connection = self.engine.connect()
        try:
            connection.begin()
        except BaseException:
            connection.close()
            raise
        return connection

    def _patiently(self, make: Callable[[], _Made]) -> _Made:
        began = self.clock()
        for pause in PAUSES:
            try:
                return make()
            except Away:
                if self.clock() - began >= PATIENCE_SECONDS:
                    raise
            self.sleep(pause)
        return make()


_KEPT = "What was committed is kept; run again when"
_TOLD: dict[str, tuple[type[MigrationError], str]] = {
    "away": (
        Away,
        (
            "Reading or writing the manifest failed: the database is locked by another process, "
            f"or gone. {_KEPT} it is back (MIGRATION_MANIFEST_URL)."
        ),
    ),
    "full": (
        Transient,
        (
            "Writing the manifest failed: its disk (or the one for temporary files) is full. "
            f"{_KEPT} there is space."
        ),
    ),
    "io": (
        Transient,
        (
            "Reading or writing the manifest failed (disk I/O error): a quota or a limit on file "
            f"sizes is reached, or the disk fails. {_KEPT} that is mended."
        ),
    ),
    "read-only": (
        Permanent,
        (
            "Writing the manifest failed: its file or folder may not be written by this user. "
            "Permit it, or set MIGRATION_MANIFEST_URL to another place."
        ),
    ),
    "damaged": (
        Permanent,
        (
            "Reading the manifest failed: the database is damaged. Keep a copy of it (on SQLite "
            "with its -wal file) and restore it from a backup; what Medplum holds beyond that is "
            "found again by its identifiers."
        ),
    ),
    "refused": (
        Transient,
        (
            f"Reading or writing the manifest failed: the database refused it. {_KEPT} that is "
            "mended (MIGRATION_MANIFEST_URL)."
        ),
    ),
}


def in_our_words(context: sa.engine.ExceptionContext) -> MigrationError | None:
    """What a failure of the database means, or None where it is a mistake of ours."""
    error = context.sqlalchemy_exception
    if not isinstance(error, sa.exc.DBAPIError):
        return None
    state: Any = getattr(error.orig, "sqlstate", None)
    code: int = (getattr(error.orig, "sqlite_errorcode", None) or 0) & 0xFF
    operational = isinstance(error, sa.exc.OperationalError)
    what = _SQLITE.get(code) or _POSTGRES.get(state)
    if what is None and (context.is_disconnect or (operational and _hung_up(error.orig))):
        what = "away"
    if what is None and not operational:
        return None
    fate, words = _TOLD[what or "refused"]
    return fate(words)


def _hung_up(error: Any) -> bool:
    """Whether PostgreSQL could not be reached, or hung up: class 08, or no state at all."""
    if not hasattr(error, "sqlstate"):
        return False
    state: str | None = error.sqlstate
    return state is None or state.startswith("08")
