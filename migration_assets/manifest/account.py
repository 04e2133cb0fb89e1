"""The account itself: which units are open, how each was settled, and what it all adds up to.

Belongs here: reading and settling units, the balance, the exceptions. Does not belong here:
landing rows, or deciding a disposition.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from migration_assets.manifest.ownership import confirm_targets
from migration_assets.manifest.payload import unpack
from migration_assets.manifest.records import (
    Balance,
    Exceptions,
    Settlement,
    State,
    Target,
    Unit,
)
from migration_assets.manifest.schema import attempts, targets, units

EXAMPLES = 3
"""Keys shown per reason: enough to look one up, too few to copy a patient list."""


def pending_units(
    connection: sa.Connection, stream: str, *, after_id: int, limit: int
) -> list[Unit]:
    """The next pending units of ``stream`` in landing order, with the targets they have."""
    query = (
        sa.select(units)
        .where(units.c.stream == stream, units.c.state == State.PENDING, units.c.id > after_id)
        .order_by(units.c.id)
        .limit(limit)
    )
    return _with_targets(connection, connection.execute(query).all())


def landed_units(
    connection: sa.Connection, stream: str, *, limit: int, keys: Sequence[str] = ()
) -> list[Unit]:
    """Units of ``stream`` as they were landed, whatever their state (for previews)."""
    query = sa.select(units).where(units.c.stream == stream).order_by(units.c.id).limit(limit)
    if keys:
        query = query.where(units.c.key.in_(keys))
    return _with_targets(connection, connection.execute(query).all())


def _with_targets(connection: sa.Connection, rows: Sequence[Any]) -> list[Unit]:
    owned: dict[int, list[Target]] = defaultdict(list)
    if rows:
        low, high = rows[0].id, rows[-1].id
        if high - low <= 4 * len(rows):  # one range scan beats hundreds of look-ups
            wanted = targets.c.unit_id.between(low, high)
        else:
            wanted = targets.c.unit_id.in_([row.id for row in rows])
        for row in connection.execute(sa.select(targets).where(wanted)):
            owned[row.unit_id].append(
                Target(
                    row.resource_type,
                    row.token,
                    row.fhir_id,
                    row.version_id,
                    row.fingerprint,
                    row.deleted,
                    frozenset((row.sent or "").split()),
                )
            )
    return [
        Unit(
            row.id,
            row.stream,
            row.key,
            row.revision,
            unpack(row.payload),
            row.deleted,
            tuple(owned[row.id]),
        )
        for row in rows
    ]


def release_awaiting(connection: sa.Connection, stream: str) -> int:
    """Make units pending again whose awaited target has arrived; returns how many."""
    arrived = sa.exists().where(
        targets.c.token == units.c.awaiting,
        targets.c.fhir_id.is_not(None),
        targets.c.deleted.is_(False),
    )
    released = connection.execute(
        sa.update(units)
        .where(units.c.stream == stream, units.c.awaiting.is_not(None), arrived)
        .values(state=State.PENDING.value, reason=None, field=None, awaiting=None)
    )
    return released.rowcount


def settle(
    connection: sa.Connection, settlements: Iterable[Settlement], *, run_id: int, now: int
) -> int:
    """Append the attempts, keep the targets, and set each unit's state; returns units settled.

    Attempts and targets are kept even when the unit's row changed meanwhile: they happened.
    A unit whose revision moved on stays pending.
    """
    listed = list(settlements)
    _append_attempts(connection, listed, run_id=run_id, now=now)
    confirm_targets(connection, listed, now=now)
    if not listed:
        return 0
    result = connection.execute(
        sa.update(units)
        .where(units.c.id == sa.bindparam("unit"), units.c.revision == sa.bindparam("at_revision"))
        .values(
            state=sa.bindparam("new_state"),
            reason=sa.bindparam("new_reason"),
            field=sa.bindparam("new_field"),
            awaiting=sa.bindparam("new_awaiting"),
            mapping_version=sa.bindparam("new_version"),
            settled_at=now,
            settled_run=run_id,
        ),
        [
            {
                "unit": each.unit_id,
                "at_revision": each.revision,
                "new_state": each.state.value,
                "new_reason": each.reason,
                "new_field": each.field,
                "new_awaiting": each.awaiting,
                "new_version": each.mapping_version,
            }
            for each in listed
        ],
    )
    return result.rowcount


def _append_attempts(
    connection: sa.Connection, settlements: list[Settlement], *, run_id: int, now: int
) -> None:
    rows = [
        {
            "unit_id": settlement.unit_id,
            "run_id": run_id,
            "at": now,
            "token": each.token,
            "method": each.method,
            "bundle": each.bundle,
            "entry": each.entry,
            "status": each.status,
            "event": each.event,
            "outcome": each.outcome,
            "fhir_id": each.fhir_id,
            "version_id": each.version_id,
        }
        for settlement in settlements
        for each in settlement.attempts
    ]
    if rows:
        connection.execute(sa.insert(attempts), rows)


def balances(connection: sa.Connection) -> dict[str, Balance]:
    """The balance of every stream: one count of all units, and one by state, apart."""
    totals = connection.execute(
        sa.select(units.c.stream, sa.func.count().label("n")).group_by(units.c.stream)
    ).all()
    states: dict[str, dict[State, int]] = {row.stream: dict.fromkeys(State, 0) for row in totals}
    by_state = sa.select(units.c.stream, units.c.state, sa.func.count().label("n")).group_by(
        units.c.stream, units.c.state
    )
    for row in connection.execute(by_state):
        states[row.stream][State(row.state)] = row.n
    return {row.stream: Balance(row.n, states[row.stream]) for row in totals}


def related_balances(connection: sa.Connection, resource_type: str, stream: str) -> Balance:
    """The balance of a type written in another's groups: the units that own such a resource."""
    counts = dict.fromkeys(State, 0)
    query = (
        sa.select(units.c.state, sa.func.count(sa.distinct(units.c.id)).label("n"))
        .select_from(units.join(targets, targets.c.unit_id == units.c.id))
        .where(units.c.stream == stream, targets.c.resource_type == resource_type)
        .group_by(units.c.state)
    )
    for row in connection.execute(query):
        counts[State(row.state)] = row.n
    return Balance(sum(counts.values()), counts)


def exceptions(connection: sa.Connection, stream: str | None = None) -> list[Exceptions]:
    """Quarantined, rejected and skipped units by reason and field, most frequent first."""
    kinds = [State.QUARANTINED.value, State.REJECTED.value, State.SKIPPED.value]
    reason = sa.func.coalesce(units.c.reason, "").label("reason")
    field = sa.func.coalesce(units.c.field, "").label("field")
    where: list[sa.ColumnElement[bool]] = [units.c.state.in_(kinds)]
    if stream is not None:
        where.append(units.c.stream == stream)
    grouped = (
        sa.select(units.c.stream, units.c.state, reason, field, sa.func.count().label("n"))
        .where(*where)
        .group_by(units.c.stream, units.c.state, reason, field)
        .order_by(sa.desc("n"), units.c.stream, reason, field)
    )
    found = []
    for row in connection.execute(grouped):
        keys = connection.execute(
            sa.select(units.c.key)
            .where(
                units.c.stream == row.stream,
                units.c.state == row.state,
                reason == row.reason,
                field == row.field,
            )
            .order_by(units.c.id)
            .limit(EXAMPLES)
        ).scalars()
        found.append(
            Exceptions(row.stream, State(row.state), row.reason, row.field, row.n, tuple(keys))
        )
    return found
