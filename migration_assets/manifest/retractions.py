"""The record of an undo: written down before anything is sent, then settled or taken back.

Belongs here: what stands on account before, during and after the undoing of units. Does not belong
here: which run wrote what (``history``), what Medplum holds, or restoring it (``undoing``).

Between Medplum's answer and ours the account knows less than Medplum. So a unit is held as undone
from before the first write, and its resources are doubted: no row counts as unchanged against them,
and what was sent is known as ours. Whoever dies then leaves a unit that no pull touches, that the
next undo of the run completes, and that a person may redeliver instead.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from migration_assets.manifest.account import append_attempts, reopen_doubtful
from migration_assets.manifest.landing import UNDONE
from migration_assets.manifest.leases import Lease, renewed, taken_over
from migration_assets.manifest.outages import Database
from migration_assets.manifest.ownership import confirm_targets, intend_targets
from migration_assets.manifest.records import Settlement, State, Target, chunked
from migration_assets.manifest.schema import targets, units

_STANDING = ("state", "reason", "field", "awaiting", "settled_at", "settled_run")
_OWNED = tuple(each.name for each in targets.c if each.name not in ("id", "token"))


@dataclass(frozen=True)
class Former:
    """How units and their resources stood before their undoing was written down."""

    units: Mapping[int, Any]
    targets: Mapping[int, Sequence[Any]]


def intend(
    database: Database,
    wanted: Mapping[int, Sequence[Target]],
    *,
    run_id: int,
    now: int,
    leases: Iterable[Lease],
) -> Former:
    """Hold the units as undone and doubt their resources, in one transaction.

    Raises:
        Transient: another run took one of the leases over; nothing is written.
    """
    held = list(leases)
    found: list[Former] = []

    def whole(connection: sa.Connection, *, repeated: bool) -> list[Lease]:
        if not (repeated and found):  # else they may stand as undone by now
            found[:] = [_former(connection, wanted)]
        lost = [each for each in held if not renewed(connection, each, now=now)]
        if not lost:
            intend_targets(connection, ((n, each) for n, own in wanted.items() for each in own))
            _hold(connection, wanted, run_id=run_id, now=now)
        return lost

    for lease in database.at_most_once(whole):
        raise taken_over(lease)
    return found[0]


def settle(
    database: Database,
    undone: list[Settlement],
    tried: list[Settlement],
    *,
    run_id: int,
    now: int,
    leases: Iterable[Lease],
    former: Former | None,
) -> None:
    """Append the attempts, keep the targets, hold what was undone, put back what was refused.

    A group of which a part was undone stays held: it is neither what it was nor what it shall be.

    Raises:
        Transient: another run took one of the leases over. Only the attempts are kept, and that
            what was written has to be looked at again where somebody released it meanwhile.
    """
    every, held = [*undone, *tried], list(leases)

    def whole(connection: sa.Connection, *, repeated: bool) -> list[Lease]:
        append_attempts(connection, every, run_id=run_id, now=now, repeated=repeated)
        lost = [each for each in held if not renewed(connection, each, now=now)]
        if lost:
            reopen_doubtful(connection, _released(connection, every))
            return lost
        confirm_targets(connection, every, now=now)
        _hold(connection, [each.unit_id for each in undone], run_id=run_id, now=now)
        if former is not None:
            refused = [each.unit_id for each in tried if not each.targets]
            _put_back(connection, former, refused, run_id=run_id)
        return lost

    for lease in database.at_most_once(whole):
        raise taken_over(lease)


def _former(connection: sa.Connection, wanted: Mapping[int, Sequence[Target]]) -> Former:
    columns = [units.c.id, units.c.revision, *(units.c[name] for name in _STANDING)]
    stood = {
        row.id: row
        for part in chunked(wanted)
        for row in connection.execute(sa.select(*columns).where(units.c.id.in_(part)))
    }
    names = chunked(each.token for owned in wanted.values() for each in owned)
    by_token = {
        row.token: row
        for part in names
        for row in connection.execute(sa.select(targets).where(targets.c.token.in_(part)))
    }
    owned = {
        unit: [by_token[each.token] for each in own if each.token in by_token]
        for unit, own in wanted.items()
    }
    return Former(stood, owned)


def _hold(connection: sa.Connection, ids: Iterable[int], *, run_id: int, now: int) -> None:
    """Whatever their revision: a row that changed meanwhile is held with them."""
    held = [{"unit": each} for each in ids]
    if held:
        connection.execute(
            sa.update(units)
            .where(units.c.id == sa.bindparam("unit"))
            .values(
                state=State.QUARANTINED.value,
                reason=UNDONE,
                field=None,
                awaiting=None,
                settled_at=now,
                settled_run=run_id,
            ),
            held,
        )


def _put_back(
    connection: sa.Connection, former: Former, ids: Iterable[int], *, run_id: int
) -> None:
    """Let the units stand as they did; one whose row changed meanwhile is owed that row.

    Unless a person released it meanwhile, or it was held as undone before.
    """
    stood = [former.units[each] for each in ids if former.units[each].reason != UNDONE]
    if not stood:
        return
    ours = sa.and_(
        units.c.id == sa.bindparam("unit"),
        units.c.reason == UNDONE,
        units.c.settled_run == run_id,
    )
    as_it_did = sa.update(units).where(ours, units.c.revision == sa.bindparam("at_revision"))
    connection.execute(
        as_it_did.values({name: sa.bindparam(f"old_{name}") for name in _STANDING}),
        [
            {"unit": row.id, "at_revision": row.revision}
            | {f"old_{name}": getattr(row, name) for name in _STANDING}
            for row in stood
        ],
    )
    connection.execute(
        sa.update(units).where(ours).values(state=State.PENDING.value, reason=None),
        [{"unit": row.id} for row in stood],
    )
    owned = [row for unit in stood for row in former.targets[unit.id]]
    if owned:
        connection.execute(
            sa.update(targets)
            .where(targets.c.token == sa.bindparam("at_token"))
            .values({name: sa.bindparam(f"old_{name}") for name in _OWNED}),
            [
                {"at_token": row.token} | {f"old_{name}": getattr(row, name) for name in _OWNED}
                for row in owned
            ],
        )


def _released(connection: sa.Connection, every: list[Settlement]) -> list[Settlement]:
    """Those written that are not held as undone any more."""
    written = [each for each in every if each.targets]
    held: set[int] = set()
    for part in chunked(each.unit_id for each in written):
        query = sa.select(units.c.id).where(units.c.id.in_(part), units.c.reason == UNDONE)
        held.update(connection.execute(query).scalars())
    return [each for each in written if each.unit_id not in held]
