"""Handing over: a resource that two streams may write passes to whichever is newer.

Belongs here: who holds which resource, as of when, and passing it on. Does not belong here: which
streams may, or which of two versions counts (``steps.handing_over``).

A row of ``targets`` passes as it is, with id, version, fingerprint and what was sent: so the taker
knows what Medplum holds. ``as_of`` says when that had changed, by whoever wrote it.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import sqlalchemy as sa

from migration_assets.manifest.account import as_of_sweep, target_of
from migration_assets.manifest.in_bulk import among, update_each
from migration_assets.manifest.outages import Database
from migration_assets.manifest.ownership import insert_into
from migration_assets.manifest.records import State, Target, as_of, chunked
from migration_assets.manifest.schema import attempts, targets, units
from migration_assets.manifest.sealing import seals_of

_CONFIRMED = (State.MIGRATED.value, State.UNCHANGED.value)


@dataclass(frozen=True)
class Claim:
    """Who holds a resource; ``as_of`` None: nothing of it was ever confirmed."""

    target: Target
    unit_id: int
    stream: str
    as_of: int | None


@dataclass(frozen=True)
class Handover:
    """A resource that passes from a unit to another."""

    token: str
    giver: int
    taker: int


class Handovers:
    """What is held by whom; each method is one transaction."""

    def __init__(
        self, engine: Database, read: Callable[[], AbstractContextManager[sa.Connection]]
    ) -> None:
        """``read`` begins transactions that change nothing."""
        self._engine = engine
        self._reading = read

    def any_units(self, streams: Sequence[str]) -> bool:
        """Whether one of these streams has a unit."""
        query = sa.select(units.c.id).where(units.c.stream.in_(streams)).limit(1)
        with self._reading() as connection:
            return connection.execute(query).first() is not None

    def claims(self, tokens: Iterable[str]) -> dict[str, Claim]:
        """Who holds each of the resources that are known, those deleted in Medplum included."""
        found: dict[str, Claim] = {}
        owner = (units.c.stream, units.c.state, units.c.changed_at, units.c.landed_at)
        gone = (units.c.missed, units.c.deleted.label("gone"))
        query = sa.select(targets, *owner, *gone).join(units, units.c.id == targets.c.unit_id)
        with self._reading() as connection:
            seals = seals_of(connection)
            for part in chunked(tokens):
                wanted = among(connection, targets.c.token, part)
                for row in connection.execute(query.where(wanted)):
                    moment = row.as_of
                    if not row.gone and row.state in _CONFIRMED:  # as it is, whenever it was sent
                        moment = max(moment or 0, as_of(row, deleted=False, swept=None))
                    elif moment is None and row.fhir_id is not None:  # of an account before as_of
                        swept = as_of_sweep(connection, row.stream) if row.gone else None
                        moment = as_of(row, deleted=row.gone, swept=swept)
                    held = target_of(row, seals)
                    found[row.token] = Claim(held, row.unit_id, row.stream, moment)
        return found

    def tried(self, unit_ids: Sequence[int]) -> dict[int, set[str]]:
        """The resources that units ever tried to write."""
        found: dict[int, set[str]] = {}
        query = sa.select(attempts.c.unit_id, attempts.c.token).distinct()
        with self._reading() as connection:
            for part in chunked(unit_ids):
                for row in connection.execute(query.where(attempts.c.unit_id.in_(part))):
                    found.setdefault(row.unit_id, set()).add(row.token)
        return found

    def hand_over(self, passed: Sequence[Handover]) -> None:
        """Pass resources on, from those who still have them."""
        if passed:
            rows = [{"at": each.token, "giver": each.giver, "taker": each.taker} for each in passed]
            number, text = targets.c.unit_id.type, targets.c.token.type

            def whole(connection: sa.Connection) -> None:
                update_each(
                    connection,
                    rows,
                    {"at": text, "giver": number, "taker": number},
                    lambda given: (
                        sa.update(targets)
                        .where(targets.c.token == given("at"), targets.c.unit_id == given("giver"))
                        .values(unit_id=given("taker"))
                    ),
                )

            self._engine.again(whole)

    def bury(self, gone: Iterable[tuple[int, Target]]) -> None:
        """Write down what is deleted although it was never there: an older version may come yet."""
        rows = [
            {
                "unit_id": unit,
                "resource_type": each.resource_type,
                "token": each.token,
                "deleted": True,
                "as_of": each.as_of,
            }
            for unit, each in gone
        ]
        if rows:

            def whole(connection: sa.Connection) -> None:
                insert = insert_into(connection, targets)
                connection.execute(insert.on_conflict_do_nothing(), rows)

            self._engine.again(whole)

    def advance(self, seen: Sequence[tuple[int, int]]) -> None:
        """What these units hold in Medplum is as of a later moment, by (unit, moment)."""
        if seen:
            rows = [{"unit": unit, "moment": moment} for unit, moment in seen]
            number = targets.c.unit_id.type

            def whole(connection: sa.Connection) -> None:
                update_each(
                    connection,
                    rows,
                    {"unit": number, "moment": number},
                    lambda given: (
                        sa.update(targets)
                        .where(
                            targets.c.unit_id == given("unit"),
                            sa.func.coalesce(targets.c.as_of, 0) < given("moment"),
                        )
                        .values(as_of=given("moment"))
                    ),
                )

            self._engine.again(whole)
