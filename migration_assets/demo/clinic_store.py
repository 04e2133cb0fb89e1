"""The demo clinic's database: every stream's rows in one SQLite table, in order of change.

Belongs here: keeping rows as they are (any JSON, keys used twice, no key at all), pages of them by
keyset, and the writes that mark a row as changed or deleted. Does not belong here: HTTP
(``clinic_api``), inventing rows (``population``), or anything of the product's own SQL
(``manifest``).
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import orjson

from migration_assets.demo.clinic_transaction import Transaction

KEY_FIELDS = {
    "organizations": "organization_id",
    "practitioners": "practitioner_id",
    "practitioner_roles": "role_id",
    "patients": "patient_id",
    "patient_conditions": "patient_condition_id",
    "prescriptions": "prescription_id",
    "encounters": "encounter_id",
    "observations": "observation_id",
    "diagnostic_reports": "report_id",
    "conditions": "condition_id",
}
"""The streams of the demo clinic, and which field of a row is its key."""

OTHER_KEY_FIELD = "id"
"""The key field of every further stream, as in ``defaults`` of clinic.yaml."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(milliseconds=1)
_CHUNK = 5_000  # rows per transaction of a load: some MB

_TABLES = """
CREATE TABLE IF NOT EXISTS streams (name TEXT PRIMARY KEY, key_field TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rows (
    id INTEGER PRIMARY KEY,
    stream TEXT NOT NULL,
    key TEXT NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER,
    body BLOB NOT NULL
);
"""
_INDEXES = {
    "rows_by_change": "rows (stream, updated_at, key, id)",
    "rows_by_key": "rows (stream, key)",
    # Lets rows be counted without reading them: all of them, less these few.
    "rows_deleted": "rows (stream, updated_at) WHERE deleted_at IS NOT NULL",
}


class ClinicRow(NamedTuple):
    """A row on its way into the clinic. ``key`` is blank for a row that has none.

    ``updated_at`` is in milliseconds since 1970, UTC; ``body`` is any JSON value, without it.
    """

    stream: str
    key: str
    updated_at: int
    body: Any


class Position(NamedTuple):
    """Where a page ended: the sort key of its last row."""

    updated_at: int
    key: str
    row_id: int


class StreamSize(NamedTuple):
    """How many rows of a stream live and are deleted, and its latest change, in milliseconds."""

    name: str
    rows: int
    deleted: int
    updated_at: int | None


@dataclass(frozen=True)
class Selection:
    """Which rows of a stream: changed in [since, before), in milliseconds; None is an open end."""

    stream: str
    since: int | None = None
    before: int | None = None
    include_deleted: bool = False
    descending: bool = False

    def beyond_a_page(self) -> Self:
        """The same without the end that the position after a page makes superfluous.

        SQLite would start its search there, and read every page so far once more.
        """
        return replace(self, before=None) if self.descending else replace(self, since=None)

    def where(self) -> tuple[str, list[Any]]:
        """The condition on streams and times, and its arguments."""
        terms: list[tuple[str, Any]] = [("stream = ?", self.stream)]
        if self.since is not None:
            terms.append(("updated_at >= ?", self.since))
        if self.before is not None:
            terms.append(("updated_at < ?", self.before))
        return " AND ".join(term for term, _ in terms), [value for _, value in terms]


class Page(NamedTuple):
    """Rows as JSON, and where the next page begins; None at the end."""

    rows: list[bytes]
    following: Position | None


def milliseconds(moment: datetime) -> int:
    """Milliseconds since 1970 of a moment, rounded up: both ends of a window are asked that way."""
    return -((_EPOCH - moment) // _TICK)


def instant(moment: int) -> str:
    """Milliseconds since 1970 as the clinic writes them: ISO, milliseconds, Z."""
    return (_EPOCH + moment * _TICK).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


class ClinicStore:
    """A clinic's database, open. A context manager; one per thread."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        mode = "ro" if read_only else "rwc"
        uri = f"{path.resolve().as_uri()}?mode={mode}"
        self._connection = sqlite3.connect(uri, uri=True, timeout=30, isolation_level=None)
        if not read_only:
            self._connection.execute("PRAGMA journal_mode=WAL")
            # An invented clinic may be founded anew: what a power cut takes is no loss.
            self._connection.execute("PRAGMA synchronous=OFF")
            self._connection.executescript(_TABLES)
            self._index()
            for stream, key_field in KEY_FIELDS.items():
                self.declare(stream, key_field)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close it; the last one to do so leaves a single file behind."""
        self._connection.close()

    def declare(self, stream: str, key_field: str = OTHER_KEY_FIELD) -> None:
        """Have a stream answer even without rows."""
        self._connection.execute(
            "INSERT OR IGNORE INTO streams (name, key_field) VALUES (?, ?)", (stream, key_field)
        )

    def key_field(self, stream: str) -> str | None:
        """Which field of a stream's rows is the key; None for a stream there is not."""
        found = self._connection.execute("SELECT key_field FROM streams WHERE name=?", (stream,))
        row = found.fetchone()
        return None if row is None else str(row[0])

    def load(self, rows: Iterable[tuple[str, str, int, Any]]) -> int:
        """Add rows, in memory that does not grow with their number; returns how many.

        An empty clinic gets its indexes at the end, which is several times faster.
        """
        if self._connection.execute("SELECT 1 FROM rows LIMIT 1").fetchone() is None:
            for name in _INDEXES:
                self._connection.execute(f"DROP INDEX {name}")
        loaded = 0
        packed = (_packed(*row) for row in rows)
        while chunk := list(islice(packed, _CHUNK)):
            with Transaction(self._connection):
                self._connection.executemany(_INSERT, chunk)
            loaded += len(chunk)
        self._index()
        return loaded

    def load_examples(
        self, extra: Iterable[tuple[str, Sequence[dict[str, Any]]]], *, now: datetime
    ) -> int:
        """Add a mapping's examples as rows of its stream, changed an hour before ``now``.

        Only to streams that hold no rows: the clinic of a type that somebody has just written.
        """
        changed = milliseconds(now - timedelta(hours=1))
        loaded = 0
        for stream, examples in extra:
            self.declare(stream)
            field = self.key_field(stream) or OTHER_KEY_FIELD
            if self._connection.execute(
                "SELECT 1 FROM rows WHERE stream=? LIMIT 1", (stream,)
            ).fetchone():
                continue
            loaded += self.load(
                (stream, str(each.get(field, "")), changed, each) for each in examples
            )
        return loaded

    def put(self, stream: str, key: str, body: Any, *, now: datetime) -> bool:
        """Write a row now; True if it is new. Every row that has this key is replaced by it."""
        with Transaction(self._connection):
            gone = self._connection.execute(
                "DELETE FROM rows WHERE stream=? AND key=?", (stream, key)
            ).rowcount
            self._connection.execute(_INSERT, _packed(stream, key, milliseconds(now), body))
        return not gone

    def delete(self, stream: str, key: str, *, now: datetime) -> bool:
        """Mark a row as deleted now; False if there is none that lives."""
        moment = milliseconds(now)
        return bool(
            self._connection.execute(
                "UPDATE rows SET deleted_at=?, updated_at=?"
                " WHERE stream=? AND key=? AND deleted_at IS NULL",
                (moment, moment, stream, key),
            ).rowcount
        )

    def erase(self, stream: str, key: str) -> bool:
        """Remove a row without a trace, as many systems do; False if there is none."""
        with Transaction(self._connection):
            return bool(
                self._connection.execute(
                    "DELETE FROM rows WHERE stream=? AND key=?", (stream, key)
                ).rowcount
            )

    def page(self, selection: Selection, *, after: Position | None, limit: int) -> Page:
        """Up to ``limit`` rows after a position, by change time, key and row id."""
        condition, values = (selection.beyond_a_page() if after else selection).where()
        if not selection.include_deleted:
            condition += " AND deleted_at IS NULL"
        direction, compare = ("DESC", "<") if selection.descending else ("ASC", ">")
        if after is not None:
            condition += f" AND (updated_at, key, id) {compare} (?, ?, ?)"
            values += after
        order = ", ".join(f"{column} {direction}" for column in ("updated_at", "key", "id"))
        found = self._connection.execute(
            f"SELECT updated_at, key, id, deleted_at, body FROM rows WHERE {condition}"  # noqa: S608 - all of it written above
            f" ORDER BY {order} LIMIT ?",
            [*values, limit + 1],
        ).fetchall()
        field = self.key_field(selection.stream) or OTHER_KEY_FIELD
        kept = found[:limit]
        rows = [_on_the_wire(field, key, moment, gone, body) for moment, key, _, gone, body in kept]
        return Page(rows, Position(*kept[-1][:3]) if len(found) > limit else None)

    def total(self, selection: Selection) -> int:
        """How many rows a selection holds."""
        return self._count(selection) - (
            0
            if selection.include_deleted
            else self._count(selection, " AND deleted_at IS NOT NULL")
        )

    def _count(self, selection: Selection, further: str = "") -> int:
        condition, values = selection.where()
        query = f"SELECT COUNT(*) FROM rows WHERE {condition}{further}"  # noqa: S608 - no input in it
        return int(self._connection.execute(query, values).fetchone()[0])

    def row(self, stream: str, key: str) -> tuple[bytes, bool] | None:
        """The latest row with a key as JSON, and whether it is deleted; None if there is none."""
        found = self._connection.execute(
            "SELECT updated_at, deleted_at, body FROM rows WHERE stream=? AND key=?"
            " ORDER BY deleted_at IS NULL DESC, updated_at DESC, id DESC LIMIT 1",
            (stream, key),
        ).fetchone()
        if found is None:
            return None
        moment, gone, body = found
        field = self.key_field(stream) or OTHER_KEY_FIELD
        return _on_the_wire(field, key, moment, gone, body), gone is not None

    def streams(self) -> Iterator[StreamSize]:
        """Every declared stream and its size, by name."""
        latest = "SELECT MAX(updated_at) FROM rows WHERE stream = ?"
        for (name,) in self._connection.execute("SELECT name FROM streams ORDER BY name"):
            living = self.total(Selection(name))
            everything = self.total(Selection(name, include_deleted=True))
            moment = self._connection.execute(latest, (name,)).fetchone()[0]
            yield StreamSize(name, living, everything - living, moment)

    def living_near(self, stream: str, share: float) -> tuple[str, Any] | None:
        """Key and body of the living row nearest after a place in the clinic (0 to 1).

        Costs the same in a clinic of any size, unlike choosing among all keys.
        """
        last = self._connection.execute("SELECT COALESCE(MAX(id), 0) FROM rows").fetchone()[0]
        found = self._connection.execute(
            "SELECT key, body FROM rows WHERE id >= ? AND +stream = ? AND deleted_at IS NULL"
            " ORDER BY id LIMIT 1",
            (int(share * last), stream),
        ).fetchone()
        return None if found is None else (str(found[0]), orjson.loads(found[1]))

    def _index(self) -> None:
        for name, columns in _INDEXES.items():
            self._connection.execute(f"CREATE INDEX IF NOT EXISTS {name} ON {columns}")


_INSERT = "INSERT INTO rows (stream, key, updated_at, body) VALUES (?, ?, ?, ?)"


def _packed(stream: str, key: str, updated_at: int, body: Any) -> tuple[str, str, int, bytes]:
    if isinstance(body, dict) and not body.keys().isdisjoint(("updated_at", "deleted_at")):
        body = {
            name: each for name, each in body.items() if name not in ("updated_at", "deleted_at")
        }
    return stream, key, updated_at, orjson.dumps(body)


def _on_the_wire(
    key_field: str, key: str, updated_at: int, deleted_at: int | None, body: bytes
) -> bytes:
    if deleted_at is not None:
        times = {"updated_at": instant(updated_at), "deleted_at": instant(deleted_at)}
        return orjson.dumps({key_field: key, **times})
    if not body.startswith(b"{"):
        return body
    comma = b"" if body == b"{}" else b","
    return b'%s%s"updated_at":"%s"}' % (body[:-1], comma, instant(updated_at).encode())
