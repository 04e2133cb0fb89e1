"""The ledger of sweeps: what a full reading of a stream saw, and what it did not.

Belongs here: which live units a sweep missed, and writing down what came of it. Does not belong
here: reading the stream, or deciding what absence means (``sweeping``).
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from migration_assets.manifest.collisions import DUPLICATE_KEY, step_down
from migration_assets.manifest.landing import UNDONE
from migration_assets.manifest.leases import Lease, renewed, taken_over
from migration_assets.manifest.records import Absent, State, SweepEnd, Swept, from_micros
from migration_assets.manifest.schema import sweeps, units


def start_sweep(
    connection: sa.Connection,
    stream: str,
    *,
    run_id: int,
    now: int,
    since: int | None,
    until: int | None,
) -> int:
    """Open a sweep and return its number; units that land later than this are never absent.

    Nor are those with a change time outside [since, until): the source is not asked for them.
    """
    live = sa.select(sa.func.count(), sa.func.max(units.c.id)).where(*_live(stream))
    held, last = connection.execute(live).one()
    values = {
        "stream": stream,
        "run_id": run_id,
        "started_at": now,
        "last_unit": last or 0,
        "held": held,
        "since": since,
        "until": until,
    }
    key = connection.execute(sa.insert(sweeps).values(**values)).inserted_primary_key
    return int(key[0]) if key else 0


def held_at_start(connection: sa.Connection, sweep: int) -> int:
    """Live units when the sweep began."""
    return int(
        connection.execute(sa.select(sweeps.c.held).where(sweeps.c.id == sweep)).scalar_one()
    )


def count_absent(connection: sa.Connection, sweep: int) -> int:
    """Live units the sweep did not see."""
    query = sa.select(sa.func.count()).select_from(units).where(*_absent(connection, sweep))
    return int(connection.execute(query).scalar_one())


def absent_units(
    connection: sa.Connection, sweep: int, *, after_id: int, limit: int
) -> list[Absent]:
    """The next live units the sweep did not see, in landing order."""
    columns = (units.c.id, units.c.key, units.c.revision, units.c.seen_run, units.c.missed)
    query = (
        sa.select(*columns)
        .where(*_absent(connection, sweep), units.c.id > after_id)
        .order_by(units.c.id)
        .limit(limit)
    )
    return [Absent(*row) for row in connection.execute(query)]


def seen_key(connection: sa.Connection, sweep: int) -> str | None:
    """The key of some live unit that the sweep saw, to prove a look-up by."""
    stream = _stream_of(connection, sweep)
    query = (
        sa.select(units.c.key)
        .where(*_live(stream), units.c.seen_sweep == sweep, units.c.reason.is_(None))
        .order_by(units.c.id.desc())
        .limit(1)
    )
    found: str | None = connection.execute(query).scalar()
    return found


def note_presence(
    connection: sa.Connection, sweep: int, unit: Absent, *, merged_into: str | None
) -> None:
    """The source has a row that its list did not show, perhaps as one merged into another."""
    at = units.c.id == unit.id
    connection.execute(sa.update(units).where(at).values(seen_sweep=sweep, missed=0))
    if merged_into is not None:
        connection.execute(
            sa.update(units)
            .where(at, sa.func.coalesce(units.c.merged_into, "") != merged_into)
            .values(
                merged_into=merged_into,
                revision=units.c.revision + 1,
                field=None,
                awaiting=None,
                **_reopened(),
            )
        )


def end_sweep(
    connection: sa.Connection, sweep: int, end: SweepEnd, *, now: int, lease: Lease | None = None
) -> int:
    """Write down how a sweep ended; returns how many units are gone.

    A unit that another run saw or changed since the sweep looked is left alone.

    Raises:
        Transient: another run took the lease over; nothing of it counts.
    """
    if lease is not None and not renewed(connection, lease, now=now):
        raise taken_over(lease)
    gone = _update(
        connection,
        end.gone,
        {"deleted": True, "field": None, "awaiting": None, "revision": units.c.revision + 1}
        | {"missed": units.c.missed + 1, **_reopened()},
    )
    step_down(connection, [each.id for each in end.gone])
    _update(connection, end.missed, {"missed": units.c.missed + 1})
    connection.execute(
        sa.update(sweeps)
        .where(sweeps.c.id == sweep)
        .values(verdict=end.verdict, finished_at=now, rows=end.rows, absent=end.absent, gone=gone)
    )
    return gone


def _reopened() -> dict[str, Any]:
    """Pending again; but what a person has undone stays so, whatever a sweep finds."""
    undone = sa.func.coalesce(units.c.reason, "") == UNDONE
    return {
        "state": sa.case((undone, units.c.state), else_=State.PENDING.value),
        "reason": sa.case((undone, units.c.reason)),
    }


def last_sweep(connection: sa.Connection, stream: str) -> Swept | None:
    """The last sweep of ``stream`` that came to its end."""
    query = (
        sa.select(sweeps)
        .where(sweeps.c.stream == stream, sweeps.c.verdict.is_not(None))
        .order_by(sweeps.c.id.desc())
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    ended = from_micros(row.finished_at)
    return Swept(stream, row.verdict, ended, row.rows, row.held, row.absent, row.gone)


def _update(connection: sa.Connection, listed: Sequence[Absent], values: dict[str, Any]) -> int:
    changed = 0
    for each in listed:
        changed += connection.execute(
            sa.update(units)
            .where(
                units.c.id == each.id,
                units.c.revision == each.revision,
                units.c.seen_run == each.seen_run,
                units.c.missed == each.missed,
                units.c.deleted.is_(False),
            )
            .values(**values)
        ).rowcount
    return changed


def _live(stream: str) -> tuple[sa.ColumnElement[bool], ...]:
    return units.c.stream == stream, units.c.deleted.is_(False)


def _absent(connection: sa.Connection, sweep: int) -> tuple[sa.ColumnElement[bool], ...]:
    """Collisions are left out: which of two rows with one key is gone is a person's decision."""
    found = connection.execute(sa.select(sweeps).where(sweeps.c.id == sweep)).one()
    asked: list[sa.ColumnElement[bool]] = []
    if found.since is not None:
        asked.append(units.c.changed_at >= found.since)
    if found.until is not None:
        asked.append(units.c.changed_at < found.until)
    return (
        *_live(found.stream),
        *([sa.or_(units.c.changed_at.is_(None), sa.and_(*asked))] if asked else []),
        units.c.id <= found.last_unit,
        sa.or_(units.c.seen_sweep.is_(None), units.c.seen_sweep < sweep),
        sa.func.coalesce(units.c.reason, "") != DUPLICATE_KEY,
    )


def _stream_of(connection: sa.Connection, sweep: int) -> str:
    return str(
        connection.execute(sa.select(sweeps.c.stream).where(sweeps.c.id == sweep)).scalar_one()
    )
