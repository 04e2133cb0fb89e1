"""What processes that share a credential must know of each other, one at a time.

Belongs here: the requests made on a budget, and a ledger of a few numbers, each read and written
by one caller at a time. Does not belong here: what a limit allows, or what a ledger's text means:
the room that paces the requests knows (``legacy.budgets``, ``medplum.quota``).

On SQLite a transaction that may write waits for all others (``engine``); on PostgreSQL callers of
one name wait for each other and for nobody else.
"""

import zlib

import sqlalchemy as sa

from migration_assets.manifest.schema import ledgers, requests_made

_TURNS = 7203518  # the first half of our advisory locks' keys; the second is the name's checksum
_MICROS = 1_000_000

_newest = (
    sa.select(requests_made.c.number, requests_made.c.at, requests_made.c.depth)
    .where(requests_made.c.budget == sa.bindparam("of"))
    .order_by(requests_made.c.number.desc())
    .limit(1)
)
_numbered = sa.select(requests_made.c.at).where(
    requests_made.c.budget == sa.bindparam("of"), requests_made.c.number == sa.bindparam("which")
)
_forgotten = sa.delete(requests_made).where(
    requests_made.c.budget == sa.bindparam("of"), requests_made.c.number <= sa.bindparam("up_to")
)
_text = sa.select(ledgers.c.text).where(ledgers.c.name == sa.bindparam("of"))


def take_turn(connection: sa.Connection, name: str) -> None:
    """Wait until no other transaction holds ``name``; it is held until this one ends."""
    if connection.dialect.name == "postgresql":
        key = zlib.crc32(name.encode()) - 2**31
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_TURNS, key)))


class RequestsMade:
    """The requests of one budget, in a transaction that holds it; times are epoch seconds.

    Requests are numbered, so that the n-th last is one look-up however many there were. The
    deepest look anyone ever announced is kept with each, and all that lies deeper is forgotten.
    """

    def __init__(self, connection: sa.Connection, budget: str, *, depth: int) -> None:
        self._connection = connection
        self._budget = budget
        newest = connection.execute(_newest, {"of": budget}).first()
        self._last = newest.number if newest else 0
        self._depth = max(depth, newest.depth) if newest else depth

    def ago(self, number: int) -> float | None:
        """When the ``number``-th last request was made (1 is the last)."""
        if number > self._last:
            return None
        wanted = {"of": self._budget, "which": self._last - number + 1}
        at = self._connection.execute(_numbered, wanted).scalar()
        return at / _MICROS if at is not None else None

    def add(self, at: float) -> None:
        """Count one more request, and forget the one that nobody can ask for any more."""
        self._last += 1
        self._connection.execute(
            sa.insert(requests_made),
            {
                "budget": self._budget,
                "number": self._last,
                "at": round(at * _MICROS),
                "depth": self._depth,
            },
        )
        if self._last > self._depth:
            self._connection.execute(
                _forgotten, {"of": self._budget, "up_to": self._last - self._depth}
            )


class Ledger:
    """A short text that several processes change, in a transaction that holds it."""

    def __init__(self, connection: sa.Connection, name: str, *, now: int) -> None:
        self._connection = connection
        self._name = name
        self._now = now
        self.text: str | None = connection.execute(_text, {"of": name}).scalar()

    def write(self, text: str) -> None:
        """Replace the text."""
        values = {"text": text, "written_at": self._now}
        if self.text is None:
            self._connection.execute(sa.insert(ledgers), {"name": self._name, **values})
        else:
            self._connection.execute(
                sa.update(ledgers).where(ledgers.c.name == self._name).values(**values)
            )
        self.text = text
