"""The balance, read from tallies that are kept in the transaction of every change.

Of 10 million units a count takes 2 s from the best index there is, and 20 s where there is none
(window, run); these tallies take milliseconds. Triggers of the database keep them (``migrations``):
no statement that changes a unit or a target can pass them by, now or in a later version, and they
are committed or lost with what they count. ``recount`` counts the units themselves, for proof.

PostgreSQL's writers would wait for each other at a tally's row, or deadlock: there each transaction
adds rows of its own (``part``), which ``fold`` adds up now and then.

Belongs here: reading, folding and proving tallies. Does not belong here: what a window or a type is
called (``reconciliation``).
"""

import enum
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from migration_assets.manifest.records import Balance, State
from migration_assets.manifest.schema import tallies, targets, units

DAY = 86_400_000_000
"""Microseconds of a day, the finest window that is counted."""

_STATES = {each.value: each for each in State}
_NOTHING = dict.fromkeys(State, 0)
_FOLDING = 720_352  # our advisory locks' own number, apart from other applications'
_MENDED = -1  # the part of corrections
_AT_ONCE = 100_000  # units counted by one statement: what it groups stays in memory

Name = tuple[str, str, str, str]
"""Kind, stream, name within the kind, state."""


class Dimension(enum.StrEnum):
    """By what units of a stream are told apart, each being in one place (``TYPE``: in any number).

    ``WINDOW``: the day of the change time, as a number since 1970; empty where a row has none.
    ``VERSION``: of the mapping that settled it last; empty where none did. ``RUN``: which settled
    it, or while it is pending or held since landing, which was served it last. ``TYPE``: of a
    resource it owns in Medplum, or intends to.
    """

    WINDOW = "window"
    VERSION = "version"
    RUN = "run"
    TYPE = "type"


_ELIGIBLE = "eligible"


class Tallies:
    """The kept balance; each method is one transaction."""

    def __init__(
        self,
        begin: Callable[[], AbstractContextManager[sa.Connection]],
        read: Callable[[], AbstractContextManager[sa.Connection]],
    ) -> None:
        self._begin = begin
        self._reading = read

    def by_stream(self) -> dict[str, Balance]:
        """The balance of every stream; ``eligible`` is kept by inserting alone, not by state."""
        eligible: Counter[str] = Counter()
        states: dict[str, dict[State, int]] = defaultdict(lambda: dict.fromkeys(State, 0))
        with self._reading() as connection:
            kept = _kept(connection, [_ELIGIBLE, Dimension.VERSION.value])
        for (kind, stream, _name, state), number in kept.items():
            if kind == _ELIGIBLE:
                eligible[stream] += number
            else:
                states[stream][State(state)] += number
        return {
            stream: Balance(eligible[stream], states[stream])
            for stream in sorted(eligible.keys() | states)
        }

    def by(self, dimension: Dimension) -> dict[tuple[str, str], Balance]:
        """The balance of every stream's every name within a dimension."""
        found: dict[tuple[str, str], dict[State, int]] = {}
        with self._reading() as connection:
            # Not by way of _kept: days, streams and states are 150,000 rows.
            for _kind, stream, name, state, number in connection.execute(_sums([dimension.value])):
                states = found.get((stream, name))
                if states is None:
                    states = found[stream, name] = _NOTHING.copy()
                states[_STATES[state]] = int(number)
        return {at: Balance(sum(states.values()), states) for at, states in found.items()}

    def of_type(self, resource_type: str, stream: str) -> Balance:
        """Units of a stream that own a resource of a type."""
        nothing = Balance(0, dict.fromkeys(State, 0))
        return self.by(Dimension.TYPE).get((stream, resource_type), nothing)

    def recount(self) -> dict[Name, tuple[int, int]]:
        """Where tallies and truth differ: what is kept, what is counted. Reads every unit once."""
        with self._reading() as connection:
            return _differences(connection)

    def correct(self, wrong: Mapping[Name, tuple[int, int]]) -> None:
        """Correct tallies by what a recount found; what changed since then stays counted."""
        with self._begin() as connection:
            for name, (kept, counted) in wrong.items():
                row = sa.select(*(sa.literal(each) for each in (*name, _MENDED, counted - kept)))
                _add(connection, row.where(sa.true()))


def _kept(connection: sa.Connection, kinds: Sequence[str]) -> dict[Name, int]:
    found = connection.execute(_sums(kinds))
    return {(kind, stream, at, state): int(n) for kind, stream, at, state, n in found}


def _sums(kinds: Sequence[str]) -> sa.Select[Any]:
    """One statement, hence one moment, whatever others are committing."""
    name = (tallies.c.kind, tallies.c.stream, tallies.c.name, tallies.c.state)
    number = sa.func.sum(tallies.c.counted)
    asked = sa.select(*name, number).where(tallies.c.kind.in_(kinds))
    return asked.group_by(*name).having(number != 0)


def fold(connection: sa.Connection) -> None:
    """Add up what transactions left apart; nobody who writes meanwhile is kept waiting."""
    if connection.dialect.name != "postgresql":
        return
    free = sa.select(sa.func.pg_try_advisory_xact_lock(_FOLDING))
    if not connection.execute(free).scalar_one():
        return  # another process is at it
    name = (tallies.c.kind, tallies.c.stream, tallies.c.name, tallies.c.state)
    gone = sa.delete(tallies).where(tallies.c.part != 0).returning(*name, tallies.c.counted)
    apart = gone.cte("apart")
    number = sa.func.sum(apart.c.counted)
    added_up = (
        sa.select(apart.c.kind, apart.c.stream, apart.c.name, apart.c.state, sa.literal(0), number)
        .group_by(apart.c.kind, apart.c.stream, apart.c.name, apart.c.state)
        .having(number != 0)
    )
    _add(connection, added_up)
    connection.execute(sa.delete(tallies).where(tallies.c.part == 0, tallies.c.counted == 0))


def _add(connection: sa.Connection, rows: Any) -> None:
    # The same words on both databases, in two modules.
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    insert = dialect.insert(tallies).from_select([each.name for each in tallies.c], rows)
    connection.execute(
        insert.on_conflict_do_update(
            index_elements=[*tallies.primary_key.c],
            set_={"counted": tallies.c.counted + insert.excluded.counted},
        )
    )


def _differences(connection: sa.Connection) -> dict[Name, tuple[int, int]]:
    kinds = (_ELIGIBLE, *(each.value for each in Dimension))
    if connection.dialect.name == "postgresql":
        # The count takes many statements, and all of them are to see one moment.
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    kept, counted = _kept(connection, kinds), _recounted(connection)
    return {
        name: (kept.get(name, 0), counted.get(name, 0))
        for name in sorted(kept.keys() | counted.keys())
        if kept.get(name, 0) != counted.get(name, 0)
    }


def _recounted(connection: sa.Connection) -> dict[Name, int]:
    """What the tallies ought to say, counted from units and targets."""
    counts: Counter[Name] = Counter()
    for low, high in _ranges(connection):
        for row in connection.execute(_of_units(low, high)):
            counts[_ELIGIBLE, row.stream, "", ""] += row.n
            counts[Dimension.WINDOW.value, row.stream, _text(row.day), row.state] += row.n
            counts[Dimension.VERSION.value, row.stream, row.version or "", row.state] += row.n
            counts[Dimension.RUN.value, row.stream, str(row.run), row.state] += row.n
        for row in connection.execute(_of_types(low, high)):
            counts[Dimension.TYPE.value, row.stream, row.resource_type, row.state] += row.n
    return dict(counts)


def _text(day: int | None) -> str:
    return "" if day is None else str(day)


def _ranges(connection: sa.Connection) -> Iterator[tuple[int, int]]:
    last = connection.execute(sa.select(sa.func.max(units.c.id))).scalar() or 0
    for low in range(0, last + 1, _AT_ONCE):
        yield low, low + _AT_ONCE


def _of_units(low: int, high: int) -> sa.Select[Any]:
    within = units.c.changed_at % DAY
    day = (units.c.changed_at - (within + DAY) % DAY) // DAY  # floored, before 1970 too
    held = sa.func.coalesce(units.c.settled_at, -1) < units.c.landed_at
    by_landing = sa.or_(units.c.state == State.PENDING.value, units.c.settled_run.is_(None), held)
    run = sa.case((by_landing, units.c.seen_run), else_=units.c.settled_run)
    said = (units.c.state, units.c.stream, units.c.mapping_version.label("version"))
    inner = (
        sa.select(*said, day.label("day"), run.label("run"))
        .where(units.c.id >= low, units.c.id < high)
        .subquery()
    )
    return sa.select(*inner.c, sa.func.count().label("n")).group_by(*inner.c)


def _of_types(low: int, high: int) -> sa.Select[Any]:
    return (
        sa.select(
            units.c.stream,
            units.c.state,
            targets.c.resource_type,
            sa.func.count(sa.distinct(units.c.id)).label("n"),
        )
        .select_from(units.join(targets, targets.c.unit_id == units.c.id))
        .where(units.c.id >= low, units.c.id < high)
        .where(targets.c.unit_id >= low, targets.c.unit_id < high)  # or PostgreSQL reads them all
        .group_by(units.c.stream, units.c.state, targets.c.resource_type)
    )
