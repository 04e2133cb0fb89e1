"""Which units own the resources that were changed in Medplum.

Belongs here: reading targets with their units, by token, by id, and one after the other. Does not
belong here: the debts (``write_backs``).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from migration_assets.manifest.outages import Database
from migration_assets.manifest.records import State, Target, chunked
from migration_assets.manifest.schema import targets, units


@dataclass(frozen=True)
class Owned:
    """A resource on account, and the unit it is of."""

    number: int
    target: Target
    unit_id: int
    stream: str
    key: str
    state: State

    @property
    def delivered(self) -> bool:
        """Whether the row on account is what Medplum was given."""
        return self.state in (State.MIGRATED, State.UNCHANGED)


class Owners:
    """Reads who owns what; each method is one transaction."""

    def __init__(self, read: Database) -> None:
        """``read`` begins transactions that change nothing."""
        self._read = read

    def by_token(self, tokens: Iterable[str]) -> dict[str, Owned]:
        """Those of some tokens that are on account and not deleted."""
        found: dict[str, Owned] = {}
        with self._read.begin() as connection:
            for part in chunked(tokens):
                for row in connection.execute(_query().where(targets.c.token.in_(part))):
                    found[row.token] = _owned(row)
        return found

    def by_id(self, resource_type: str, ids: Iterable[str]) -> dict[str, Owned]:
        """Those of some Medplum ids; without an index, so for the few that no token tells."""
        found: dict[str, Owned] = {}
        with self._read.begin() as connection:
            for part in chunked(ids):
                query = _query().where(
                    targets.c.resource_type == resource_type, targets.c.fhir_id.in_(part)
                )
                found.update((row.fhir_id, _owned(row)) for row in connection.execute(query))
        return found

    def of_unit(self, unit_id: int) -> list[Owned]:
        """Everything a unit owns that is not deleted."""
        with self._read.begin() as connection:
            query = _query().where(targets.c.unit_id == unit_id).order_by(targets.c.id)
            return [_owned(row) for row in connection.execute(query)]

    def living(self, resource_type: str, *, after: int, limit: int) -> list[Owned]:
        """The next resources of a type that ought to be in Medplum."""
        query = (
            _query()
            .where(targets.c.resource_type == resource_type, targets.c.id > after)
            .order_by(targets.c.id)
            .limit(limit)
        )
        with self._read.begin() as connection:
            return [_owned(row) for row in connection.execute(query)]


def _query() -> sa.Select[Any]:
    return (
        sa.select(
            targets.c.id,
            targets.c.token,
            targets.c.resource_type,
            targets.c.fhir_id,
            targets.c.version_id,
            targets.c.unit_id,
            units.c.stream,
            units.c.key,
            units.c.state,
        )
        .join(units, units.c.id == targets.c.unit_id)
        .where(targets.c.deleted.is_(False), targets.c.fhir_id.is_not(None))
    )


def _owned(row: Any) -> Owned:
    return Owned(
        row.id,
        Target(row.resource_type, row.token, row.fhir_id, row.version_id),
        row.unit_id,
        row.stream,
        row.key,
        State(row.state),
    )
