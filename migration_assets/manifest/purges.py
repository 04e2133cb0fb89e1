"""Purges: payloads of rows whose outcome is final and proved are dropped, and nothing else.

Belongs here: which units that are, and dropping what they hold. Does not belong here: for how long
rows are kept (``retention``).

What stays: the unit with its key, times, state and hash, its targets, attempts and decisions. So
the balance and the evidence stand, and a row that is pulled again is known to be the same one.
Kept as they are: what is pending, quarantined or rejected; a row that gave way to another of its
key, and may have to stand in for it again; a unit that waits for a reference, or of which a write
is unfinished. There is no version of a row on account but the last: SQLite zeroes those that were
overwritten (``custody``).
"""

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass

import sqlalchemy as sa

from migration_assets.manifest.bot_answers import forget_answers
from migration_assets.manifest.collisions import DUPLICATE_KEY, OUTDATED, SUPERSEDED
from migration_assets.manifest.custody import add_to, empty_the_log, release_space
from migration_assets.manifest.landing import take_turns
from migration_assets.manifest.outages import Database
from migration_assets.manifest.payload import NO_PAYLOAD
from migration_assets.manifest.records import State
from migration_assets.manifest.schema import targets, units

FINAL = (State.MIGRATED, State.UNCHANGED, State.SKIPPED)
_MAY_COUNT_AGAIN = (SUPERSEDED, OUTDATED, DUPLICATE_KEY)
BATCH = 1_000


@dataclass(frozen=True)
class Due:
    """What may go of a stream, and how much is kept although it is final."""

    rows: int
    bytes: int


class Purges:
    """Drops payloads; each method is one transaction."""

    def __init__(
        self,
        write: Database,
        read: Callable[[], AbstractContextManager[sa.Connection]],
    ) -> None:
        self._write = write
        self._reading = read

    def due(self, stream: str, *, settled_before: int, keep_living: bool) -> Due:
        """What a purge would drop now."""
        size = sa.func.coalesce(sa.func.sum(sa.func.length(units.c.payload)), 0)
        query = sa.select(sa.func.count(), size).where(
            _final(stream, settled_before, keep_living=keep_living)
        )
        with self._reading() as connection:
            rows, freed = connection.execute(query).one()
        return Due(int(rows), int(freed))

    def drop(
        self, record: int, stream: str, *, settled_before: int, keep_living: bool
    ) -> Due | None:
        """Drop the next batch; None when nothing is left.

        In turns with landings of the stream: one may have found a row there that it relies on.
        """
        query = (
            sa.select(units.c.id, sa.func.length(units.c.payload).label("size"))
            .where(_final(stream, settled_before, keep_living=keep_living))
            .order_by(units.c.id)
            .limit(BATCH)
            .with_for_update(skip_locked=True)
        )
        with self._write.begin() as connection:
            take_turns(connection, stream)
            found = connection.execute(query).all()
            if not found:
                return None
            connection.execute(
                sa.update(units)
                .where(units.c.id.in_([row.id for row in found]))
                .values(payload=NO_PAYLOAD)
            )
            forget_answers(connection, [row.id for row in found])
            dropped = Due(len(found), sum(row.size for row in found))
            add_to(connection, record, rows=dropped.rows, size=dropped.bytes)
        return dropped

    def streams(self) -> Collection[str]:
        """The streams on account."""
        with self._reading() as connection:
            return list(connection.execute(sa.select(units.c.stream).distinct()).scalars())

    def finish(self, *, release: bool) -> None:
        """See to it that what was dropped is gone; ``release``: and its space given back."""
        (release_space if release else empty_the_log)(self._write.engine)


def _final(stream: str, settled_before: int, *, keep_living: bool) -> sa.ColumnElement[bool]:
    unfinished = sa.exists().where(
        targets.c.unit_id == units.c.id,
        targets.c.deleted.is_(False),
        sa.or_(targets.c.fhir_id.is_(None), targets.c.sent.is_not(None)),
    )
    wanted = [
        units.c.stream == stream,
        units.c.state.in_(FINAL),
        units.c.settled_at <= settled_before,
        sa.func.coalesce(units.c.reason, "").not_in(_MAY_COUNT_AGAIN),
        units.c.awaiting.is_(None),
        sa.func.length(units.c.payload) > 0,
        sa.not_(unfinished),
    ]
    if keep_living:
        wanted.append(units.c.deleted.is_(True))
    return sa.and_(*wanted)
