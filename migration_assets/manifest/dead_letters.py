"""Dead letters: which units did not arrive, since when, what was tried, and what people decided.

Belongs here: choosing and reading quarantined, rejected and skipped units. Does not belong here:
deciding about them (``decisions``), or what a reason means.

Open is what nobody has explained yet: quarantined or rejected, unless a person accepted just that
outcome. Accepting holds for the row as it was: another revision, or another reason, is open again.
"""

import enum
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa

from migration_assets.errors import Permanent
from migration_assets.manifest.records import Exceptions, State, chunked, from_micros
from migration_assets.manifest.schema import attempts, decisions, runs, units

KINDS = (State.QUARANTINED, State.REJECTED, State.SKIPPED)
"""States of a unit that did not arrive."""

EXAMPLES = 3
"""Keys shown per reason: enough to look one up, too few to copy a patient list."""

_LONGEST_NUMBER = 18  # digits of a run's number; longer ones are labels


class Choice(enum.StrEnum):
    """What a person decided about a unit."""

    FIX = "fix"
    REDELIVER = "redeliver"
    ACCEPT = "accept"
    DEFER = "defer"


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which units are meant; what is left empty does not restrict.

    ``run`` is a run's number or label: that in which the units were settled, or held at landing.
    """

    keys: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()
    reason: str | None = None
    states: tuple[State, ...] = ()
    run: str | None = None
    owner: str | None = None
    open_only: bool = False


@dataclass(frozen=True)
class Group:
    """Units of one stream in one state for one reason at one field; ``open`` of ``count``."""

    stream: str
    state: State
    reason: str
    field: str
    count: int
    open: int
    example_keys: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What somebody wrote down about a unit; what is None leaves what stood before."""

    by: str
    owner: str | None = None
    note: str | None = None
    choice: Choice | None = None
    approver: str | None = None
    due: date | None = None
    overwrites: bool = False
    at: datetime | None = None
    """When; None until it is on account."""


@dataclass(frozen=True)
class Tried:
    """One attempt, as a person needs it."""

    at: datetime
    run_id: int
    method: str
    status: str
    event: str
    outcome: str | None


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """A unit that did not arrive, with everything tried and decided, oldest first."""

    id: int
    stream: str
    key: str
    state: State
    reason: str
    field: str
    since: datetime
    open: bool
    attempts: tuple[Tried, ...]
    decisions: tuple[Decision, ...]

    @property
    def owner(self) -> str | None:
        """Who looks after it."""
        return next((each.owner for each in reversed(self.decisions) if each.owner), None)

    @property
    def note(self) -> str | None:
        """The last note."""
        return next((each.note for each in reversed(self.decisions) if each.note), None)

    @property
    def decision(self) -> Decision | None:
        """The last decision."""
        return next((each for each in reversed(self.decisions) if each.choice), None)


def condition(
    connection: sa.Connection, selection: Selection, *, kinds: Sequence[State] = KINDS
) -> sa.ColumnElement[bool]:
    """The units that a selection means, as a condition on ``units``.

    Raises:
        Permanent: there is no such run.
    """
    wanted: list[sa.ColumnElement[bool]] = [
        units.c.state.in_(selection.states or kinds),
        units.c.reason.is_not(None),  # always so of these states; it names the index
    ]
    if selection.streams:
        wanted.append(units.c.stream.in_(selection.streams))
    if selection.keys:
        wanted.append(sa.or_(*(units.c.key.in_(part) for part in chunked(selection.keys))))
    if selection.reason is not None:
        wanted.append(units.c.reason == selection.reason)
    if selection.owner is not None:
        theirs = sa.select(decisions.c.unit_id).where(decisions.c.owner == selection.owner)
        wanted += [units.c.id.in_(theirs), _owner() == selection.owner]  # few first, then the last
    if selection.run is not None:
        numbers = _run_numbers(connection, selection.run)
        at_landing = sa.and_(units.c.settled_run.is_(None), units.c.seen_run.in_(numbers))
        wanted.append(sa.or_(units.c.settled_run.in_(numbers), at_landing))
    if selection.open_only:
        wanted.append(is_open())
    return sa.and_(*wanted)


def in_landing_order() -> sa.ColumnElement[int]:
    """How chosen units are ordered: by an expression, which no index is in the order of.

    By the id itself SQLite, and PostgreSQL where there is a limit, walk through all units to find
    the few: of 10 million that took 10 s, from the index of exceptions and sorted it takes 0.04 s.
    """
    return units.c.id + 0


def is_open() -> sa.ColumnElement[bool]:
    """Whether a unit's outcome is still to be explained."""
    return sa.and_(
        units.c.state.in_((State.QUARANTINED.value, State.REJECTED.value)), sa.not_(accepted())
    )


def accepted() -> sa.ColumnElement[bool]:
    """Whether the last decision about a unit accepts just the outcome that it has now."""
    later = decisions.alias("later")
    return sa.exists().where(
        decisions.c.unit_id == units.c.id,
        decisions.c.choice == Choice.ACCEPT.value,
        decisions.c.revision == units.c.revision,
        decisions.c.state == units.c.state,
        sa.func.coalesce(decisions.c.reason, "") == sa.func.coalesce(units.c.reason, ""),
        sa.func.coalesce(decisions.c.field, "") == sa.func.coalesce(units.c.field, ""),
        ~sa.exists().where(
            later.c.unit_id == decisions.c.unit_id,
            later.c.choice.is_not(None),
            later.c.id > decisions.c.id,
        ),
    )


def groups(connection: sa.Connection, selection: Selection) -> list[Group]:
    """The chosen units by stream, state, reason and field, most frequent first.

    Counted from an index alone; of 10 million units with 100,000 exceptions that takes a moment.
    """
    chosen = condition(connection, replace(selection, open_only=False))
    counts = _counts(connection, chosen)
    explained = _counts(connection, sa.and_(chosen, _some_accepted(), accepted()))
    found = []
    for alike, count in counts.items():
        stream, state, reason, field = alike
        never_open = state == State.SKIPPED.value
        still = 0 if never_open else count - explained.get(alike, 0)
        if still or not selection.open_only:
            keys = _examples(connection, alike, chosen, open_only=selection.open_only)
            shown = still if selection.open_only else count
            found.append(Group(stream, State(state), reason or "", field or "", shown, still, keys))
    return sorted(found, key=lambda each: (-each.count, each.stream, each.reason, each.field))


def exceptions(connection: sa.Connection, stream: str | None = None) -> list[Exceptions]:
    """The same of one stream or all, for who need not know what is open."""
    found = groups(connection, Selection(streams=(stream,) if stream else ()))
    return [
        Exceptions(one.stream, one.state, one.reason, one.field, one.count, one.example_keys)
        for one in found
    ]


_Alike = tuple[str, str, str | None, str | None]
_ALIKE = (units.c.stream, units.c.state, units.c.reason, units.c.field)


def _counts(connection: sa.Connection, chosen: sa.ColumnElement[bool]) -> dict[_Alike, int]:
    query = sa.select(*_ALIKE, sa.func.count().label("n")).where(chosen).group_by(*_ALIKE)
    return {
        (row.stream, row.state, row.reason, row.field): int(row.n)
        for row in connection.execute(query)
    }


def _some_accepted() -> sa.ColumnElement[bool]:
    """Units that were ever accepted: few, where all others need not be looked at one by one."""
    return units.c.id.in_(
        sa.select(decisions.c.unit_id).where(decisions.c.choice == Choice.ACCEPT.value)
    )


def _examples(
    connection: sa.Connection, alike: _Alike, chosen: sa.ColumnElement[bool], *, open_only: bool
) -> tuple[str, ...]:
    same = [
        column.is_(None) if value is None else column == value
        for column, value in zip(_ALIKE, alike, strict=True)
    ]
    query = sa.select(units.c.key).where(chosen, *same)
    if open_only:
        query = query.where(is_open())
    return tuple(connection.execute(query.order_by(units.c.id).limit(EXAMPLES)).scalars())


def listed(connection: sa.Connection, selection: Selection, *, limit: int) -> list[DeadLetter]:
    """The chosen units one by one, in landing order, at most ``limit``."""
    query = (
        sa.select(
            units.c.id,
            units.c.stream,
            units.c.key,
            units.c.state,
            units.c.reason,
            units.c.field,
            units.c.landed_at,
            units.c.settled_at,
            is_open().label("open"),
        )
        .where(condition(connection, selection))
        .order_by(in_landing_order())
        .limit(limit)
    )
    rows = connection.execute(query).all()
    ids = [row.id for row in rows]
    tried, decided = _tried(connection, ids), _decided(connection, ids)
    return [
        DeadLetter(
            id=row.id,
            stream=row.stream,
            key=row.key,
            state=State(row.state),
            reason=row.reason or "",
            field=row.field or "",
            since=from_micros(max(row.settled_at or 0, row.landed_at)),
            open=bool(row.open),
            attempts=tuple(tried[row.id]),
            decisions=tuple(decided[row.id]),
        )
        for row in rows
    ]


def _tried(connection: sa.Connection, ids: list[int]) -> dict[int, list[Tried]]:
    found: dict[int, list[Tried]] = defaultdict(list)
    for start in range(0, len(ids), 500):
        wanted = attempts.c.unit_id.in_(ids[start : start + 500])
        for row in connection.execute(sa.select(attempts).where(wanted).order_by(attempts.c.id)):
            found[row.unit_id].append(
                Tried(
                    from_micros(row.at), row.run_id, row.method, row.status, row.event, row.outcome
                )
            )
    return found


def _decided(connection: sa.Connection, ids: list[int]) -> dict[int, list[Decision]]:
    found: dict[int, list[Decision]] = defaultdict(list)
    for start in range(0, len(ids), 500):
        wanted = decisions.c.unit_id.in_(ids[start : start + 500])
        for row in connection.execute(sa.select(decisions).where(wanted).order_by(decisions.c.id)):
            found[row.unit_id].append(_decision(row))
    return found


def _decision(row: Any) -> Decision:
    return Decision(
        by=row.decided_by,
        owner=row.owner,
        note=row.note,
        choice=Choice(row.choice) if row.choice else None,
        approver=row.approver,
        due=date.fromisoformat(row.due) if row.due else None,
        overwrites=row.overwrites,
        at=from_micros(row.decided_at),
    )


def _owner() -> sa.ScalarSelect[Any]:
    return (
        sa.select(decisions.c.owner)
        .where(decisions.c.unit_id == units.c.id, decisions.c.owner.is_not(None))
        .order_by(decisions.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )


def _run_numbers(connection: sa.Connection, run: str) -> list[int]:
    named = runs.c.label == run
    if run.isdecimal() and len(run) <= _LONGEST_NUMBER:
        named = sa.or_(named, runs.c.id == int(run))
    found = list(connection.execute(sa.select(runs.c.id).where(named)).scalars())
    if not found:
        raise Permanent("No run on account has this number or label. Leave --run out, or mend it.")
    return found
