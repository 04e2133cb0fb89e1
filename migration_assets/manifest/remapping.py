"""Units as they were settled, for mapping their landed rows again.

Belongs here: units of another mapping version, and making them pending again; units with the state
they have. Does not belong here: mapping, or comparing what comes out.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from migration_assets.manifest.account import with_targets
from migration_assets.manifest.collisions import DUPLICATE_KEY, OUTDATED, SUPERSEDED
from migration_assets.manifest.landing import UNDONE, UNUSABLE_KEY
from migration_assets.manifest.moves import Moves
from migration_assets.manifest.records import State, Unit, chunked
from migration_assets.manifest.schema import units
from migration_assets.manifest.subsets import Subset, chosen, pending_among

_NOT_BY_A_MAPPING = (DUPLICATE_KEY, UNUSABLE_KEY, SUPERSEDED, OUTDATED, UNDONE)


@dataclass(frozen=True)
class SettledUnit:
    """A unit with the state it has; ``held`` if that state is not a mapping's doing.

    Held are rows that came broken, keys that collided, and what a person decided.
    """

    unit: Unit
    state: State
    reason: str | None
    field: str | None
    mapping_version: str | None
    held: bool


class Remapping:
    """Landed units to be looked at again; each method is one transaction."""

    def __init__(
        self,
        begin: Callable[[], AbstractContextManager[sa.Connection]],
        read: Callable[[], AbstractContextManager[sa.Connection]],
    ) -> None:
        self._begin = begin
        self._reading = read

    @property
    def moves(self) -> Moves:
        """Resources under another id than the one others were linked to."""
        return Moves(self._begin, self._reading)

    def outdated(
        self, stream: str, version: str, *, after_id: int = 0, limit: int = 500
    ) -> list[SettledUnit]:
        """The next units that a mapping of another version settled, in landing order."""
        query = sa.select(units, _held()).where(_outdated(stream, version), units.c.id > after_id)
        with self._reading() as connection:
            return _settled(connection, query.order_by(units.c.id).limit(limit))

    def count_outdated(self, stream: str, version: str) -> int:
        """How many units a mapping of another version settled."""
        query = sa.select(sa.func.count()).where(_outdated(stream, version))
        with self._reading() as connection:
            return int(connection.execute(query).scalar_one())

    def count_purged(self, stream: str, version: str) -> int:
        """How many more there would be, had their rows not been purged."""
        query = sa.select(sa.func.count()).where(_outdated(stream, version, purged=True))
        with self._reading() as connection:
            return int(connection.execute(query).scalar_one())

    def reopen_outdated(self, stream: str, version: str) -> int:
        """Make the units pending that a mapping of another version settled; returns how many."""
        with self._begin() as connection:
            return connection.execute(
                sa.update(units)
                .where(_outdated(stream, version))
                .values(state=State.PENDING.value, reason=None, field=None, awaiting=None)
            ).rowcount

    def reopen(self, stream: str, keys: Sequence[str]) -> int:
        """Make the units of these keys pending again that a mapping settled; returns how many."""
        opened = 0
        with self._begin() as connection:
            for part in chunked(keys):
                opened += connection.execute(
                    sa.update(units)
                    .where(
                        units.c.stream == stream,
                        units.c.key.in_(part),
                        units.c.state != State.PENDING.value,
                        sa.not_(_held().element),
                    )
                    .values(state=State.PENDING.value, reason=None, field=None, awaiting=None)
                ).rowcount
        return opened

    def chosen(self, stream: str, subset: Subset, *, pending_only: bool = False) -> list[int]:
        """Numbers of the units that a subset means, in landing order."""
        with self._reading() as connection:
            return chosen(connection, stream, subset, pending_only=pending_only)

    def pending_among(self, numbers: Sequence[int]) -> list[Unit]:
        """Those of the units that are pending."""
        with self._reading() as connection:
            return pending_among(connection, numbers)

    def settled(self, numbers: Sequence[int]) -> list[SettledUnit]:
        """The units of these numbers, in landing order."""
        query = sa.select(units, _held()).where(units.c.id.in_(numbers)).order_by(units.c.id)
        with self._reading() as connection:
            return _settled(connection, query)

    def on_account(self, stream: str, keys: Sequence[str]) -> dict[str, SettledUnit]:
        """The units of these keys, as far as there are any, by key."""
        query = sa.select(units, _held()).where(units.c.stream == stream, units.c.key.in_(keys))
        query = query.order_by(units.c.id)  # else their targets are looked for in no range at all
        with self._reading() as connection:
            return {each.unit.key: each for each in _settled(connection, query)}


def _held() -> sa.Label[bool]:
    by_landing = sa.and_(
        units.c.state == State.QUARANTINED.value,
        sa.func.coalesce(units.c.settled_at, -1) < units.c.landed_at,
    )
    return sa.or_(by_landing, sa.func.coalesce(units.c.reason, "").in_(_NOT_BY_A_MAPPING)).label(
        "held"
    )


def _outdated(stream: str, version: str, *, purged: bool = False) -> sa.ColumnElement[bool]:
    """Settled by a mapping of another version; a row that was purged cannot be mapped again."""
    size = sa.func.length(units.c.payload)
    return sa.and_(
        size == 0 if purged else size > 0,
        units.c.stream == stream,
        units.c.state != State.PENDING.value,
        units.c.mapping_version.is_not(None),
        units.c.mapping_version != version,
        sa.not_(_held().element),
    )


def _settled(connection: sa.Connection, query: sa.Select[Any]) -> list[SettledUnit]:
    rows = connection.execute(query).all()
    return [
        SettledUnit(unit, State(row.state), row.reason, row.field, row.mapping_version, row.held)
        for unit, row in zip(with_targets(connection, rows), rows, strict=True)
    ]
