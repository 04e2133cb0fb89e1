"""The account of write-back: one debt per resource and version that somebody wrote in Medplum.

Belongs here: noting, reading, settling and deciding them, each method one transaction. Does not
belong here: what is written to the legacy system, and when (``operations.writing_back``).

The law: ``seen = written + unchanged + conflict + refused + skipped + open``. A debt is noted
before anything is done about it; that it is about to be sent, before it is sent; and it is settled
together with the row that came of it, which takes the place of the one on account, so that the
puller and the gates take our own write for no edit.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa

from migration_assets.manifest import landing
from migration_assets.manifest.leases import Lease, renewed, taken_over
from migration_assets.manifest.outages import Database
from migration_assets.manifest.ownership import insert_into
from migration_assets.manifest.records import LandingRow, chunked, from_micros
from migration_assets.manifest.schema import units
from migration_assets.manifest.write_back_ends import (
    SUPERSEDED,
    Choice,
    Debt,
    Settled,
    WriteBack,
    decide,
    settle,
)
from migration_assets.manifest.write_back_owners import Owners
from migration_assets.manifest.write_back_tables import write_backs


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A change in Medplum as it was seen. ``versions`` are those since the one on account."""

    fhir_id: str
    version_id: str
    kind: str
    unit_id: int | None = None
    token: str | None = None
    key: str | None = None
    versions: Sequence[Mapping[str, Any]] = ()


class WriteBacks:
    """The write-backs of one manifest."""

    def __init__(self, engine: Database, read: Database, now: Callable[[], int]) -> None:
        """``read`` begins transactions that change nothing."""
        self._engine = engine
        self._read = read
        self._now = now
        self.owners = Owners(read)

    # -- noting -------------------------------------------------------------------------------

    def note(self, resource_type: str, seen: Iterable[Seen]) -> int:
        """Write down what was changed in Medplum; what is on account already is left as it is.

        An older debt of the same resource that is not settled is part of a newer one, unless it may
        have been sent. Returns how many are new.
        """
        listed = list(seen)
        now = self._now()

        def whole(connection: sa.Connection) -> int:
            known = _known(connection, resource_type, listed)
            fresh = [
                each for each in listed if (each.fhir_id, each.version_id, each.kind) not in known
            ]
            for each in fresh:
                connection.execute(_superseded(resource_type, each.fhir_id, now))
                connection.execute(
                    insert_into(connection, write_backs).values(_row(resource_type, each, now))
                )
            return len(fresh)

        return self._engine.again(whole)

    def unknown(self, resource_type: str, seen: Sequence[Seen]) -> list[Seen]:
        """Those of some changes that ``note`` would write down."""
        with self._read.begin() as connection:
            known = _known(connection, resource_type, seen)
        return [each for each in seen if (each.fhir_id, each.version_id, each.kind) not in known]

    # -- reading ------------------------------------------------------------------------------

    def open(self, resource_types: Iterable[str]) -> int:
        """Changes in Medplum that are not settled in the legacy system: open and in conflict."""
        waiting = (WriteBack.OPEN, WriteBack.CONFLICT)
        return sum(
            counts.get(state, 0)
            for counts in self.counts(resource_types).values()
            for state in waiting
        )

    def counts(
        self, resource_types: Iterable[str] | None = None
    ) -> dict[str, dict[WriteBack, int]]:
        """Debts by type and state; ``sum`` of a type's are all that were seen."""
        query = sa.select(
            write_backs.c.resource_type, write_backs.c.state, sa.func.count()
        ).group_by(write_backs.c.resource_type, write_backs.c.state)
        if resource_types is not None:
            query = query.where(write_backs.c.resource_type.in_(list(resource_types)))
        found: dict[str, dict[WriteBack, int]] = {}
        with self._read.begin() as connection:
            for kind, state, number in connection.execute(query):
                found.setdefault(kind, {})[WriteBack(state)] = number
        return found

    def due(self, resource_type: str, *, after_id: int = 0, limit: int = 100) -> list[Debt]:
        """The next open debts of a type, oldest first."""
        return self.listed(resource_type, (WriteBack.OPEN,), after_id=after_id, limit=limit)

    def listed(
        self,
        resource_type: str | None,
        states: Iterable[WriteBack],
        *,
        after_id: int = 0,
        limit: int = 100,
    ) -> list[Debt]:
        """Debts in some states, oldest first."""
        query = (
            sa.select(write_backs)
            .where(write_backs.c.state.in_(list(states)), write_backs.c.id > after_id)
            .order_by(write_backs.c.id)
            .limit(limit)
        )
        if resource_type is not None:
            query = query.where(write_backs.c.resource_type == resource_type)
        with self._read.begin() as connection:
            return [_debt(row) for row in connection.execute(query)]

    def get(self, number: int) -> Debt | None:
        """One debt."""
        with self._read.begin() as connection:
            row = connection.execute(
                sa.select(write_backs).where(write_backs.c.id == number)
            ).first()
        return None if row is None else _debt(row)

    def stands(self, stream: str, row: LandingRow) -> bool:
        """Whether a row is on account just as it is, even if its payload was purged."""
        with self._read.begin() as connection:
            return bool(landing.standing(connection, stream, [row]))

    def made_here(self, stream: str, rows: Iterable[LandingRow]) -> set[str]:
        """Keys of those rows that stand as a write-back left them: no edits of the other side."""
        listed = list(rows)
        gone = {str(each.key) for each in listed if each.deleted}
        found: set[str] = set()
        with self._read.begin() as connection:
            standing = landing.standing(connection, stream, listed)
            for part in chunked(standing | gone):
                query = (
                    sa.select(units.c.key, units.c.deleted)
                    .join(write_backs, write_backs.c.unit_id == units.c.id)
                    .where(
                        units.c.stream == stream,
                        units.c.key.in_(part),
                        write_backs.c.state.in_((WriteBack.WRITTEN, WriteBack.UNCHANGED)),
                        write_backs.c.settled_at >= units.c.landed_at,
                    )
                )
                found.update(
                    row.key
                    for row in connection.execute(query)
                    # A tombstone is the source's own: what stands on account is that it is gone.
                    if row.key in standing or (row.deleted and row.key in gone)
                )
        return found

    # -- settling -----------------------------------------------------------------------------

    def sending(self, debt: Debt, *, lease: Lease) -> None:
        """Something is about to be sent for a debt: from here on it may have arrived.

        Raises:
            Transient: another run took the lease over; nothing may be sent.
        """
        self._change(
            debt,
            {"attempts": write_backs.c.attempts + 1, "sent_at": self._now()},
            lease=lease,
        )

    def keyed(self, debt: Debt, key: str, *, lease: Lease) -> None:
        """The legacy system gave a new row this key."""
        self._change(debt, {"key": key}, lease=lease)

    def settle(self, settled: Settled, *, run_id: int, lease: Lease) -> None:
        """Settle a debt with the row and the resource that go with it, in one transaction.

        Raises:
            Transient: another run took the lease over; nothing is settled.
        """
        now = self._now()

        def whole(connection: sa.Connection) -> None:
            if not renewed(connection, lease, now=now):
                raise taken_over(lease)
            settle(connection, settled, run_id=run_id, now=now)

        self._engine.again(whole)

    def decide(self, debt: Debt, choice: Choice, *, by: str, note: str | None) -> bool:
        """Write down what a person decided; False if the debt is not as they saw it any more."""
        with self._engine.begin() as connection:
            return decide(connection, debt, choice, by=by, note=note, now=self._now())

    def _change(self, debt: Debt, values: dict[str, Any], *, lease: Lease) -> None:
        now = self._now()
        change = sa.update(write_backs).where(write_backs.c.id == debt.id).values(**values)
        with self._engine.begin() as connection:
            if not renewed(connection, lease, now=now):
                raise taken_over(lease)
            connection.execute(change)


def _known(
    connection: sa.Connection, resource_type: str, seen: Sequence[Seen]
) -> set[tuple[str, str, str]]:
    """Those of them that are on account; a new resource is one debt, whatever becomes of it."""
    found: set[tuple[str, str, str]] = set()
    columns = (write_backs.c.fhir_id, write_backs.c.version_id, write_backs.c.kind)
    for part in chunked(each.fhir_id for each in seen):
        query = sa.select(*columns).where(
            write_backs.c.resource_type == resource_type, write_backs.c.fhir_id.in_(part)
        )
        found.update((row[0], row[1], row[2]) for row in connection.execute(query))
    begun = {fhir_id for fhir_id, _version, kind in found if kind == "create"}
    found |= {
        (each.fhir_id, each.version_id, each.kind)
        for each in seen
        if each.kind == "create" and each.fhir_id in begun
    }
    return found


def _superseded(resource_type: str, fhir_id: str, now: int) -> sa.Update:
    return (
        sa.update(write_backs)
        .where(
            write_backs.c.resource_type == resource_type,
            write_backs.c.fhir_id == fhir_id,
            write_backs.c.kind != "create",
            sa.or_(
                write_backs.c.state.in_((WriteBack.CONFLICT, WriteBack.REFUSED)),
                sa.and_(write_backs.c.state == WriteBack.OPEN, write_backs.c.sent_at.is_(None)),
            ),
        )
        .values(state=WriteBack.SKIPPED.value, reason=SUPERSEDED, field=None, settled_at=now)
    )


def _row(resource_type: str, seen: Seen, now: int) -> dict[str, Any]:
    return {
        "resource_type": resource_type,
        "fhir_id": seen.fhir_id,
        "version_id": seen.version_id,
        "kind": seen.kind,
        "state": WriteBack.OPEN.value,
        "unit_id": seen.unit_id,
        "token": seen.token,
        "key": seen.key,
        "versions": orjson.dumps(list(seen.versions)).decode(),
        "seen_at": now,
        "attempts": 0,
    }


def _debt(row: Any) -> Debt:
    return Debt(
        id=row.id,
        resource_type=row.resource_type,
        fhir_id=row.fhir_id,
        version_id=row.version_id,
        kind=row.kind,
        state=WriteBack(row.state),
        reason=row.reason,
        field=row.field,
        unit_id=row.unit_id,
        token=row.token,
        key=row.key,
        versions=orjson.loads(row.versions),
        seen_at=from_micros(row.seen_at),
        attempts=row.attempts,
        sent=row.sent_at is not None,
        choice=None if row.choice is None else Choice(row.choice),
    )
