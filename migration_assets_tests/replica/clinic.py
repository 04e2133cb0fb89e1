"""A legacy system's own rows on a virtual clock: transactions, ties, deletions, merges.

Belongs here: what people do to rows, and what becomes visible when. Does not belong here: how an
API shows them (``server``), or what must hold (the tests say it).
"""

import datetime as dt
import enum
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

BEGINNING = dt.datetime(2024, 1, 15, tzinfo=dt.UTC)
"""No row is older."""

_DISTANT = dt.timedelta(days=365 * 60)  # a birth date typed into the wrong field
_WHILE = dt.timedelta(hours=5)


class Deletion(enum.StrEnum):
    """How a deletion shows."""

    ABSENCE = "absence"
    """Not at all: a hard delete, or a soft one that is filtered out and moves no change time."""
    FLAG = "flag"
    """The row says so and its change time moves."""
    FEED = "feed"
    """At a path of its own, with the time of deletion."""


class Kind(enum.StrEnum):
    """What people do."""

    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    RESTORE = "restore"
    ARCHIVE = "archive"
    MERGE = "merge"
    FUTURE = "update, dated in the distant future"
    SILENT = "update without a new change time"
    SILENT_DELETE = "flag as deleted without a new change time"
    SILENT_RESTORE = "bring back with the change time it had"
    BACKDATED = "update, dated before the last one"


@dataclass(frozen=True)
class Change:
    """One change to the row that ``which`` counts to.

    It is committed ``late`` after its stamp, as a part of the longest transaction there is.
    """

    kind: Kind
    which: int = 0
    late: float = 0.0


@dataclass(frozen=True)
class Record:
    """A row as its database holds it.

    ``before`` was its change time before it was deleted; ``place`` is where it lies: an update
    moves it.
    """

    key: int
    content: int
    stamp: dt.datetime
    before: dt.datetime | None = None
    place: int = 0
    deleted: bool = False
    archived: bool = False
    merged_into: int | None = None


@dataclass
class Clinic:
    """The rows, what is not committed yet, and what a cursor cannot show."""

    now: dt.datetime
    deletion: Deletion
    longest: dt.timedelta = dt.timedelta(0)
    typos: bool = True
    """Whether a change time may lie in the distant future."""
    rows: dict[int, Record] = field(default_factory=dict)
    uncommitted: list[tuple[dt.datetime, Record, bool]] = field(default_factory=list)
    history: dict[int, set[int]] = field(default_factory=dict)
    silent: set[int] = field(default_factory=set)
    last: int = 0

    def advance(self, by: dt.timedelta) -> None:
        """Let time pass; what is due is committed, in its order."""
        self.now += by
        due = sorted((each for each in self.uncommitted if each[0] <= self.now), key=_when)
        self.uncommitted = [each for each in self.uncommitted if each[0] > self.now]
        for _, record, silently in due:
            self._commit(record, silently=silently)

    def work(self, changes: Iterable[Change]) -> None:
        """Make changes, all in this instant."""
        for each in changes:
            made = self._made(each)
            if made is None:
                continue
            record, silently = made
            self.history.setdefault(record.key, set()).add(record.content)
            if each.late and self.longest:
                due = self.now + each.late * self.longest
                self.uncommitted.append((due, record, silently))
            else:
                self._commit(record, silently=silently)

    def found(self, stamps: Iterable[dt.datetime]) -> None:
        """Begin with rows of these change times."""
        for stamp in stamps:
            number = self._number()
            self.rows[number] = Record(number, number, stamp, place=number)
            self.history[number] = {number}

    @property
    def living(self) -> dict[int, Record]:
        """The rows that are there, for everyone to see."""
        return {key: row for key, row in self.rows.items() if not row.deleted}

    def _number(self) -> int:
        self.last += 1
        return self.last

    def _commit(self, record: Record, *, silently: bool) -> None:
        self.rows[record.key] = replace(record, place=self._number())
        (self.silent.add if silently else self.silent.discard)(record.key)

    def _made(self, change: Change) -> tuple[Record, bool] | None:
        """The row after a change, and whether its change time says nothing; None if impossible."""
        number = self._number()
        if change.kind is Kind.INSERT:
            return Record(number, number, self.now), False
        locked = {record.key for _, record, _ in self.uncommitted}
        deleted = change.kind in (Kind.RESTORE, Kind.SILENT_RESTORE)
        keys = [key for key, row in self.rows.items() if row.deleted is deleted]
        free = sorted(key for key in keys if key not in locked)
        if not free:
            return None
        row = self.rows[free[change.which % len(free)]]
        return self._changed(replace(row, content=number), change.kind)

    def _changed(self, row: Record, kind: Kind) -> tuple[Record, bool] | None:
        stamped = replace(row, stamp=self.now)
        told = self.deletion is not Deletion.ABSENCE
        others = sorted(self.living.keys() - {row.key})
        made = {
            Kind.UPDATE: (stamped, False),
            Kind.DELETE: (
                replace(stamped if told else row, deleted=True, before=row.stamp),
                not told,
            ),
            Kind.RESTORE: (replace(stamped, deleted=False), False),
            Kind.ARCHIVE: (replace(stamped, archived=not row.archived), False),
            Kind.MERGE: (replace(stamped, merged_into=others[0] if others else None), False),
            Kind.FUTURE: (replace(row, stamp=self.now + self.typos * _DISTANT), False),
            Kind.SILENT: (row, True),
            Kind.BACKDATED: (replace(row, stamp=row.stamp - _WHILE), True),
            Kind.SILENT_RESTORE: (replace(row, deleted=False, stamp=row.before or row.stamp), True),
        }
        if self.deletion is Deletion.FLAG:
            made[Kind.SILENT_DELETE] = (replace(row, deleted=True), True)
        return made.get(kind)


def _when(each: tuple[dt.datetime, Record, bool]) -> dt.datetime:
    return each[0]
