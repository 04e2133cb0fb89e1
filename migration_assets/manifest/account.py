"""The account itself: which units are open, and how each was settled.

Belongs here: reading and settling units. Does not belong here: landing rows, deciding what becomes
of one, the balance (``tallies``), or what did not arrive (``dead_letters``).
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from migration_assets.manifest.in_bulk import insert_each, update_each
from migration_assets.manifest.leases import Lease, renewed, taken_over
from migration_assets.manifest.moves import note_borrowed
from migration_assets.manifest.outages import Database
from migration_assets.manifest.ownership import confirm_targets, doubt_targets
from migration_assets.manifest.payload import unpack
from migration_assets.manifest.records import (
    Settlement,
    State,
    Target,
    Unit,
    as_of,
    chunked,
)
from migration_assets.manifest.schema import attempts, sweeps, targets, units
from migration_assets.manifest.sealing import Seals, seals_of


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
    return with_targets(connection, connection.execute(query).all())


def landed_units(
    connection: sa.Connection,
    stream: str,
    *,
    limit: int,
    keys: Sequence[str] = (),
    after_id: int = 0,
) -> list[Unit]:
    """Units of ``stream`` as they were landed, whatever their state (for previews)."""
    query = sa.select(units).where(units.c.stream == stream, units.c.id > after_id)
    query = query.order_by(units.c.id).limit(limit)
    if keys:
        query = query.where(units.c.key.in_(keys))
    return with_targets(connection, connection.execute(query).all())


def landed_row(connection: sa.Connection, stream: str, key: str, changed_at: int) -> Any | None:
    """The row of a live unit as it was landed for this change time, unless it is in quarantine.

    Some of those are there for what came with them (broken UTF-8, a detail of another row).
    """
    query = sa.select(units.c.payload).where(
        units.c.stream == stream,
        units.c.key == key,
        units.c.changed_at == changed_at,
        units.c.deleted.is_(False),
        units.c.archived.is_(False),  # a feed may show a stub
        units.c.state != State.QUARANTINED.value,
        sa.func.length(units.c.payload) > 0,  # purged: the source has to be asked again
    )
    payload = connection.execute(query).scalar()
    return None if payload is None else unpack(payload, seals_of(connection))


def with_targets(connection: sa.Connection, rows: Sequence[Any]) -> list[Unit]:
    """Rows of ``units``, ordered by id, as units with the targets they have."""
    owned: dict[int, list[Target]] = defaultdict(list)
    seals = seals_of(connection)
    if rows:
        low, high = rows[0].id, rows[-1].id
        if high - low <= 4 * len(rows):  # one range scan beats hundreds of look-ups
            wanted = targets.c.unit_id.between(low, high)
        else:
            wanted = targets.c.unit_id.in_([row.id for row in rows])
        for row in connection.execute(sa.select(targets).where(wanted)):
            owned[row.unit_id].append(target_of(row, seals))
    gone = {row.stream for row in rows if row.deleted and row.missed}
    swept = {stream: as_of_sweep(connection, stream) for stream in gone}
    return [
        Unit(
            row.id,
            row.stream,
            row.key,
            row.revision,
            unpack(row.payload, seals),
            row.deleted,
            tuple(owned[row.id]),
            row.archived,
            row.merged_into,
            as_of(row, deleted=row.deleted, swept=swept.get(row.stream)),
        )
        for row in rows
    ]


def target_of(row: Any, seals: Seals) -> Target:
    """A row of ``targets``."""
    return Target(
        row.resource_type,
        row.token,
        row.fhir_id,
        row.version_id,
        seals.unmask_print(row.fingerprint),
        row.deleted,
        _prints(row.sent, seals),
        row.overwrites,
        as_of=row.as_of,
    )


def as_of_sweep(connection: sa.Connection, stream: str) -> int | None:
    """When the last sweep of a stream began whose absences were believed."""
    query = sa.select(sa.func.max(sweeps.c.started_at)).where(
        sweeps.c.stream == stream, sweeps.c.verdict == "believed"
    )
    found: int | None = connection.execute(query).scalar()
    return found


def _prints(sent: str | None, seals: Seals) -> frozenset[str]:
    return frozenset(seals.unmask_print(each) or "" for each in (sent or "").split())


def awaited(connection: sa.Connection, stream: str, *, limit: int) -> list[str]:
    """Tokens that units of ``stream`` wait for, those waited for longest first."""
    query = (
        sa.select(units.c.awaiting)
        .where(units.c.stream == stream, units.c.awaiting.is_not(None))
        .group_by(units.c.awaiting)
        .order_by(sa.func.min(units.c.id))
        .limit(limit)
    )
    return list(connection.execute(query).scalars())


def release_awaiting(
    connection: sa.Connection, stream: str, found: Iterable[str] | None = None
) -> int:
    """Make units pending again whose awaited target has arrived; returns how many.

    ``found`` are tokens that turned up elsewhere; without it the account's own targets count.
    """
    arrived: list[sa.ColumnElement[bool]] = [
        sa.exists().where(
            targets.c.token == units.c.awaiting,
            targets.c.fhir_id.is_not(None),
            targets.c.deleted.is_(False),
        )
    ]
    if found is not None:
        arrived = [units.c.awaiting.in_(part) for part in chunked(found)]
    released = 0
    for condition in arrived:
        released += connection.execute(
            sa.update(units)
            .where(units.c.stream == stream, units.c.awaiting.is_not(None), condition)
            .values(state=State.PENDING.value, reason=None, field=None, awaiting=None)
        ).rowcount
    return released


def settle(
    connection: sa.Connection,
    settlements: Iterable[Settlement],
    *,
    run_id: int,
    now: int,
    repeated: bool = False,
) -> int:
    """Append the attempts, keep the targets, and set each unit's state; returns units settled.

    Attempts and targets are kept even when the unit's row changed meanwhile: they happened.
    A unit whose revision moved on stays pending.
    """
    listed = list(settlements)
    append_attempts(connection, listed, run_id=run_id, now=now, repeated=repeated)
    confirm_targets(connection, listed, now=now)
    note_borrowed(connection, listed)
    if not listed:
        return 0
    text, number = sa.Text(), units.c.id.type
    return update_each(
        connection,
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
        {"unit": number, "at_revision": number, "new_state": text, "new_reason": text}
        | {"new_field": text, "new_awaiting": text, "new_version": text},
        lambda given: (
            sa.update(units)
            .where(units.c.id == given("unit"), units.c.revision == given("at_revision"))
            .values(
                state=given("new_state"),
                reason=given("new_reason"),
                field=given("new_field"),
                awaiting=given("new_awaiting"),
                mapping_version=given("new_version"),
                settled_at=now,
                settled_run=run_id,
            )
        ),
    )


def settle_once(
    database: Database,
    settlements: list[Settlement],
    *,
    run_id: int,
    now: int,
    lease: Lease | None,
) -> int:
    """``settle`` in a transaction of its own, in which the lease must still be held.

    Raises:
        Transient: it was taken over. What was tried is written down, and that the units it wrote
            have to be looked at again: another run may have written them since, or before.
    """

    def whole(connection: sa.Connection, *, repeated: bool) -> int | None:
        if lease is None or renewed(connection, lease, now=now):
            return settle(connection, settlements, run_id=run_id, now=now, repeated=repeated)
        append_attempts(connection, settlements, run_id=run_id, now=now, repeated=repeated)
        reopen_doubtful(connection, [each for each in settlements if each.targets])
        return None

    settled = database.at_most_once(whole)
    if settled is None and lease is not None:
        raise taken_over(lease)
    return settled or 0


def reopen_doubtful(connection: sa.Connection, written: list[Settlement]) -> None:
    """Have what was written without the right to looked at again, unless a person holds it."""
    doubt_targets(connection, written)
    for part in chunked(str(each.unit_id) for each in written):
        connection.execute(
            sa.update(units)
            .where(
                units.c.id.in_([int(each) for each in part]),
                units.c.state != State.QUARANTINED.value,
            )
            .values(state=State.PENDING.value, reason=None, field=None, awaiting=None)
        )


def append_attempts(
    connection: sa.Connection,
    settlements: list[Settlement],
    *,
    run_id: int,
    now: int,
    repeated: bool = False,
) -> None:
    """Write down what was tried; an attempt is never changed afterwards.

    ``repeated``: the transaction is made again because the answer to its COMMIT was lost, so these
    very attempts may be there already, all or none.
    """
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
    if rows and not (repeated and _are_there(connection, rows[0])):
        insert_each(connection, attempts, rows)


def _are_there(connection: sa.Connection, row: dict[str, Any]) -> bool:
    same = (attempts.c[name].is_not_distinct_from(value) for name, value in row.items())
    return connection.execute(sa.select(attempts.c.id).where(*same).limit(1)).first() is not None
