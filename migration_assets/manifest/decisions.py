"""Decisions: what people say about units that did not arrive, appended and never overwritten.

Belongs here: owners, notes and decisions; units made pending again; the believed row of a
collision. Does not belong here: choosing and showing such units (``dead_letters``), or sending.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from migration_assets.errors import Permanent
from migration_assets.manifest.collisions import (
    DUPLICATE_KEY,
    SUPERSEDED,
    colliding,
    hand_over,
    plain_key,
)
from migration_assets.manifest.dead_letters import (
    DeadLetter,
    Decision,
    Group,
    Selection,
    accepted,
    condition,
    groups,
    in_landing_order,
    listed,
)
from migration_assets.manifest.landing import UNDONE
from migration_assets.manifest.outages import Database
from migration_assets.manifest.records import State
from migration_assets.manifest.schema import attempts, decisions, targets, units

EDITED = "edited-in-medplum"
GONE = "deleted-in-medplum"
_EDIT_FOUND = "edit-found"


@dataclass(frozen=True)
class Redelivered:
    """Units made pending again, by stream; and those that cannot be, by reason."""

    by_stream: dict[str, int]
    ids: tuple[int, ...]
    held_at_landing: dict[str, int]


@dataclass(frozen=True)
class Believed:
    """The unit that counts of several with one key, and the keys of the others."""

    unit_id: int
    others: tuple[str, ...]


@dataclass(frozen=True)
class Gone:
    """A resource that somebody may have deleted in Medplum."""

    unit_id: int
    resource_type: str
    fhir_id: str


class Decisions:
    """Dead letters and what is decided about them; each method is one transaction."""

    def __init__(self, engine: Database, read: Database, now: Callable[[], int]) -> None:
        self._engine = engine
        self._read = read
        self._now = now

    def groups(self, selection: Selection) -> list[Group]:
        """The chosen units by reason."""
        with self._read.begin() as connection:
            return groups(connection, selection)

    def listed(self, selection: Selection, *, limit: int) -> list[DeadLetter]:
        """The chosen units one by one, with what was tried and decided."""
        with self._read.begin() as connection:
            return listed(connection, selection, limit=limit)

    def assign(self, selection: Selection, decision: Decision) -> int:
        """Write a decision down for every chosen unit; returns how many there are.

        Raises:
            Permanent: a key that is not among them, or in several streams; nothing is written.
        """
        with self._engine.begin() as connection:
            chosen = condition(connection, selection)
            _check_keys(connection, selection, chosen)
            return _append(connection, chosen, decision, now=self._now())

    def due(self, selection: Selection) -> Redelivered:
        """What ``redeliver`` would make pending."""
        with self._read.begin() as connection:
            chosen = condition(connection, selection)
            _check_keys(connection, selection, chosen)
            return _due(connection, chosen)

    def maybe_gone(self, selection: Selection) -> list[Gone]:
        """Resources of the chosen units that are held for a deletion in Medplum."""
        with self._read.begin() as connection:
            chosen = sa.and_(condition(connection, selection), units.c.reason == GONE)
            query = (
                sa.select(targets.c.unit_id, targets.c.resource_type, targets.c.fhir_id)
                .where(
                    targets.c.unit_id.in_(sa.select(units.c.id).where(chosen)),
                    targets.c.fhir_id.is_not(None),
                    targets.c.deleted.is_(False),
                )
                .order_by(targets.c.id)
            )
            return [Gone(*row) for row in connection.execute(query).all()]

    def redeliver(
        self, selection: Selection, decision: Decision, *, gone: Collection[Gone] = ()
    ) -> Redelivered:
        """Make the chosen units pending again, their revision unchanged, and write that down.

        Where the decision ``overwrites``, an edit found in Medplum is approved in the version that
        was found, and in no later one; and ``gone`` resources are to come back.
        """
        with self._engine.begin() as connection:
            chosen = condition(connection, selection)
            _check_keys(connection, selection, chosen)
            due = _due(connection, chosen)
            _reopen(connection, due.ids, decision, gone, now=self._now())
        return due

    def believe(self, stream: str, key: str, decision: Decision, *, run_id: int) -> Believed:
        """Of the rows that collide under one key, believe this one.

        Raises:
            Permanent: no such unit, or it collides with none.
        """
        with self._engine.begin() as connection:
            alike = colliding(connection, stream, key)
            mine = next((row for row in alike if row.key == key), None)
            others = [row for row in alike if row.key != key and not row.deleted]
            if mine is None or mine.reason not in (DUPLICATE_KEY, SUPERSEDED) or not others:
                raise Permanent(
                    "Believing a row was refused: no unit of that key is held for a collision "
                    f"({DUPLICATE_KEY}). `migration exceptions --reason {DUPLICATE_KEY}` lists "
                    "those that are, with their keys."
                )
            ids = [row.id for row in others]
            now = self._now()
            _append(connection, units.c.id.in_(ids), decision, now=now, believed=mine.id)
            _append(connection, units.c.id == mine.id, decision, now=now)
            hand_over(connection, ids, mine.id)
            connection.execute(
                sa.update(units)
                .where(units.c.id.in_(ids))
                .values(state=State.SKIPPED.value, reason=SUPERSEDED, field=None, awaiting=None)
                .values(settled_at=now, settled_run=run_id)
            )
            _make_pending(connection, [mine.id])
        return Believed(mine.id, tuple(row.key for row in others))

    def collides_with(self, stream: str, key: str) -> list[str]:
        """The other keys under which rows with the same key stand."""
        with self._read.begin() as connection:
            return [row.key for row in colliding(connection, stream, key) if row.key != key]

    def accepted_in(self, stream: str, *, run_id: int) -> int:
        """Units of a stream that a run met and whose outcome a person accepted before."""
        query = sa.select(sa.func.count()).where(
            units.c.stream == stream,
            units.c.state.in_((State.QUARANTINED.value, State.REJECTED.value)),
            sa.or_(units.c.settled_run == run_id, units.c.seen_run == run_id),
            accepted(),
        )
        with self._read.begin() as connection:
            return int(connection.execute(query).scalar_one())

    def streams_of(self, key: str, among: Collection[str]) -> list[str]:
        """Those of some streams that hold a unit of that key."""
        query = sa.select(units.c.stream).where(
            units.c.stream.in_(among), units.c.key.in_({key, plain_key(key)})
        )
        with self._read.begin() as connection:
            return sorted(set(connection.execute(query).scalars()))

    def outcomes(self, ids: Collection[int]) -> dict[tuple[State, str], int]:
        """How units stand now: state and reason, counted."""
        counts: dict[tuple[State, str], int] = {}
        with self._read.begin() as connection:
            for part in _parts(ids):
                query = (
                    sa.select(units.c.state, units.c.reason, sa.func.count().label("n"))
                    .where(units.c.id.in_(part))
                    .group_by(units.c.state, units.c.reason)
                )
                for row in connection.execute(query):
                    name = (State(row.state), row.reason or "")
                    counts[name] = counts.get(name, 0) + row.n
        return counts


def _check_keys(
    connection: sa.Connection, selection: Selection, chosen: sa.ColumnElement[bool]
) -> None:
    """Every key asked for must mean one unit: a mistyped one would be passed over in silence."""
    if not selection.keys:
        return
    query = sa.select(units.c.key, sa.func.count().label("n")).where(chosen).group_by(units.c.key)
    found = {row.key: row.n for row in connection.execute(query)}
    missing = len(set(selection.keys) - found.keys())
    if missing:
        raise Permanent(
            f"{missing} of the keys asked for are not among the units that this selection means. "
            "Nothing was changed. `migration exceptions KEY` shows what is on account."
        )
    if any(number > 1 for number in found.values()):
        raise Permanent(
            "A key asked for is in several streams, and only one may be meant. Nothing was "
            "changed. Add --type."
        )


def _due(connection: sa.Connection, chosen: sa.ColumnElement[bool]) -> Redelivered:
    """Which of the chosen units may be made pending.

    What was held when it landed (a broken row, a colliding key) never went through a mapping: only
    another row, or a decision which is believed, makes it fit to be sent.
    """
    settled = sa.func.coalesce(units.c.settled_at, -1) >= units.c.landed_at
    held = sa.or_(
        sa.and_(
            units.c.state == State.QUARANTINED.value,
            sa.func.coalesce(units.c.reason, "") != UNDONE,  # also when a newer row landed since
            sa.not_(settled),
        ),
        units.c.reason.in_((DUPLICATE_KEY, SUPERSEDED)),
    )
    query = sa.select(units.c.id, units.c.stream, units.c.reason, held.label("held"))
    by_stream: dict[str, int] = {}
    held_back: dict[str, int] = {}
    ids: list[int] = []
    for row in connection.execute(query.where(chosen).order_by(in_landing_order())):
        if row.held:
            held_back[row.reason or ""] = held_back.get(row.reason or "", 0) + 1
        else:
            by_stream[row.stream] = by_stream.get(row.stream, 0) + 1
            ids.append(row.id)
    return Redelivered(by_stream, tuple(ids), held_back)


def _reopen(
    connection: sa.Connection,
    ids: Collection[int],
    decision: Decision,
    gone: Collection[Gone],
    *,
    now: int,
) -> None:
    owned = {each.fhir_id for each in gone}
    for part in _parts(ids):
        _append(connection, units.c.id.in_(part), decision, now=now)
        if decision.overwrites:
            _approve_edits(connection, part)
        _make_pending(connection, part)
    for some in _parts(owned):
        connection.execute(
            sa.update(targets).where(targets.c.fhir_id.in_(some)).values(deleted=True)
        )


def _approve_edits(connection: sa.Connection, ids: list[int]) -> None:
    """Let the edit that was found be written over: that version, should there be a later one."""
    found = (
        sa.select(attempts.c.version_id)
        .join(units, units.c.id == attempts.c.unit_id)
        .where(
            units.c.reason == EDITED,
            attempts.c.unit_id == targets.c.unit_id,
            attempts.c.run_id == units.c.settled_run,
            attempts.c.token == targets.c.token,
            attempts.c.event == _EDIT_FOUND,
        )
        .order_by(attempts.c.id.desc())
        .limit(1)
        .correlate(targets)
        .scalar_subquery()
    )
    connection.execute(
        sa.update(targets).where(targets.c.unit_id.in_(ids)).values(overwrites=found)
    )


def _make_pending(connection: sa.Connection, ids: list[int]) -> None:
    connection.execute(
        sa.update(units)
        .where(units.c.id.in_(ids))
        .values(state=State.PENDING.value, reason=None, field=None, awaiting=None)
    )


def _append(
    connection: sa.Connection,
    chosen: sa.ColumnElement[bool],
    decision: Decision,
    *,
    now: int,
    believed: int | None = None,
) -> int:
    """A row for each chosen unit, as it stands; in the database, for there may be millions."""
    said: dict[str, Any] = {
        "decided_at": now,
        "decided_by": decision.by,
        "owner": decision.owner,
        "note": decision.note,
        "choice": decision.choice.value if decision.choice else None,
        "approver": decision.approver,
        "due": decision.due.isoformat() if decision.due else None,
        "overwrites": decision.overwrites,
        "believed": believed,
    }
    stands = [units.c.id, units.c.revision, units.c.state, units.c.reason, units.c.field]
    values = [sa.cast(sa.literal(value), decisions.c[name].type) for name, value in said.items()]
    names = ["unit_id", "revision", "state", "reason", "field", *said]
    query = sa.select(*stands, *values).where(chosen).order_by(in_landing_order())
    return connection.execute(sa.insert(decisions).from_select(names, query)).rowcount


def _parts(values: Collection[Any], size: int = 500) -> list[list[Any]]:
    listed_ = list(values)
    return [listed_[start : start + size] for start in range(0, len(listed_), size)]
