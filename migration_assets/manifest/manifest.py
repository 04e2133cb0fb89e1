"""``Manifest``: the one object other rooms hold. Each method is one transaction.

Belongs here: which changes are committed together. Does not belong here: the queries.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from migration_assets.errors import Transient
from migration_assets.manifest import account, landing, ownership
from migration_assets.manifest.engine import open_engine, reading
from migration_assets.manifest.records import (
    Balance,
    Confirmed,
    Exceptions,
    Landed,
    LandingRow,
    Settlement,
    Target,
    Unit,
    from_micros,
    to_micros,
)
from migration_assets.manifest.schema import leases, marks, runs, windows

LEASE_SECONDS = 600
"""After this long without renewal a lease may be taken over: longer than any one wait for quota."""

Clock = Callable[[], datetime]


@dataclass(frozen=True)
class Lease:
    """The right to be the one creating writer of a type (design §5), until it goes stale."""

    name: str
    holder: str


class Manifest:
    """The account of one migration, at one database URL."""

    def __init__(self, url: str, *, clock: Clock) -> None:
        """Open, creating or upgrading the schema; raises as ``engine.open_engine`` does."""
        self._engine = open_engine(url)
        self._read = reading(self._engine)
        self._clock = clock

    def close(self) -> None:
        """Give back the connections."""
        self._engine.dispose()

    def _now(self) -> int:
        return to_micros(self._clock())

    # -- runs ---------------------------------------------------------------------------------

    def start_run(self, label: str, *, pipeline_version: str) -> int:
        """Register a run and return its number; ``label`` is Dagster's run id or the CLI verb."""
        values = {"label": label, "pipeline_version": pipeline_version, "started_at": self._now()}
        with self._engine.begin() as connection:
            key = connection.execute(sa.insert(runs).values(**values)).inserted_primary_key
        return int(key[0]) if key else 0

    def finish_run(self, run_id: int) -> None:
        """Note that the run came to its end, well or badly."""
        with self._engine.begin() as connection:
            connection.execute(
                sa.update(runs).where(runs.c.id == run_id).values(finished_at=self._now())
            )

    # -- landing ------------------------------------------------------------------------------

    def land(self, stream: str, rows: Iterable[LandingRow], *, run_id: int, reopen: bool) -> Landed:
        """Land one page that is not the last of its window."""
        with self._engine.begin() as connection:
            return landing.land(
                connection, stream, rows, run_id=run_id, now=self._now(), reopen=reopen
            )

    def land_last(
        self,
        stream: str,
        rows: Iterable[LandingRow],
        *,
        run_id: int,
        reopen: bool,
        mark: datetime | None,
        window: tuple[str, int] | None,
    ) -> Landed:
        """Land the last page, move the mark and close the window, all in one transaction.

        ``mark`` never moves backwards, nor past our own clock: from a source whose clock stands in
        the future, everything until then would go unread. ``window`` is the partition and the rows
        it held.
        """
        now = self._now()
        with self._engine.begin() as connection:
            landed = landing.land(connection, stream, rows, run_id=run_id, now=now, reopen=reopen)
            if mark is not None:
                _advance(connection, stream, min(to_micros(mark), now), run_id=run_id, now=now)
            if window is not None:
                _close_window(connection, stream, window, run_id=run_id, now=now)
        return landed

    def unseen(self, stream: str, rows: Iterable[LandingRow]) -> int:
        """How many of ``rows`` would change the account if they landed."""
        with self._read.begin() as connection:
            return landing.unseen(connection, stream, rows)

    def high_water_mark(self, stream: str) -> datetime | None:
        """How far incremental pulling of ``stream`` got, or None before the first window."""
        with self._read.begin() as connection:
            found = connection.execute(
                sa.select(marks.c.watermark).where(marks.c.stream == stream)
            ).scalar()
        return from_micros(found) if found is not None else None

    def pulled_windows(self, stream: str) -> dict[str, datetime]:
        """When each partition of ``stream`` was last pulled to its end."""
        with self._read.begin() as connection:
            rows = connection.execute(
                sa.select(windows.c.partition, windows.c.pulled_at).where(
                    windows.c.stream == stream
                )
            ).all()
        return {row.partition: from_micros(row.pulled_at) for row in rows}

    # -- settling -----------------------------------------------------------------------------

    def pending_units(self, stream: str, *, after_id: int = 0, limit: int = 500) -> list[Unit]:
        """The next pending units in landing order."""
        with self._read.begin() as connection:
            return account.pending_units(connection, stream, after_id=after_id, limit=limit)

    def landed_units(self, stream: str, *, limit: int, keys: Sequence[str] = ()) -> list[Unit]:
        """Units as they were landed, whatever their state."""
        with self._read.begin() as connection:
            return account.landed_units(connection, stream, limit=limit, keys=keys)

    def release_awaiting(self, stream: str) -> int:
        """Make units pending again whose awaited target has arrived; returns how many."""
        with self._engine.begin() as connection:
            return account.release_awaiting(connection, stream)

    def intend(self, wanted: Iterable[tuple[int, Target]]) -> None:
        """Write down the resources about to be created, before anything is sent."""
        listed = list(wanted)
        if listed:
            with self._engine.begin() as connection:
                ownership.intend_targets(connection, listed)

    def settle(self, settlements: Iterable[Settlement], *, run_id: int) -> int:
        """Settle units, with their attempts and targets; returns how many were still as seen."""
        listed = list(settlements)
        if not listed:
            return 0
        with self._engine.begin() as connection:
            return account.settle(connection, listed, run_id=run_id, now=self._now())

    def known_ids(self, tokens: Iterable[str]) -> dict[str, str]:
        """Medplum ids of confirmed targets, by token."""
        with self._read.begin() as connection:
            return ownership.known_ids(connection, tokens)

    def former_ids(self, tokens: Iterable[str]) -> dict[str, str]:
        """Ids under which targets that come back were deleted, by token."""
        with self._read.begin() as connection:
            return ownership.former_ids(connection, tokens)

    def owners(self, tokens: Iterable[str]) -> dict[str, int]:
        """Which unit owns each token."""
        with self._read.begin() as connection:
            return ownership.owners(connection, tokens)

    def confirmed_targets(
        self, resource_type: str, *, after_id: int = 0, limit: int
    ) -> list[Confirmed]:
        """The next resources of a type that Medplum is said to hold."""
        with self._read.begin() as connection:
            return ownership.confirmed_targets(
                connection, resource_type, after_id=after_id, limit=limit
            )

    # -- the balance --------------------------------------------------------------------------

    def balances(self) -> dict[str, Balance]:
        """The balance of every stream that has units."""
        with self._read.begin() as connection:
            return account.balances(connection)

    def related_balance(self, resource_type: str, stream: str) -> Balance:
        """The balance of a type that another type's groups write."""
        with self._read.begin() as connection:
            return account.related_balances(connection, resource_type, stream)

    def exceptions(self, stream: str | None = None) -> list[Exceptions]:
        """Quarantined, rejected and skipped units, grouped by reason."""
        with self._read.begin() as connection:
            return account.exceptions(connection, stream)

    # -- leases -------------------------------------------------------------------------------

    @contextmanager
    def lease(self, name: str, holder: str) -> Iterator[Lease]:
        """Hold the one lease called ``name``; Transient while somebody else holds it freshly."""
        held = Lease(name, holder)
        self._take(held)
        try:
            yield held
        finally:
            with self._engine.begin() as connection:
                connection.execute(
                    sa.delete(leases).where(leases.c.name == name, leases.c.holder == holder)
                )

    def renew(self, lease: Lease) -> None:
        """Say that the holder is alive; Transient if another took the lease over meanwhile."""
        with self._engine.begin() as connection:
            renewed = connection.execute(
                sa.update(leases)
                .where(leases.c.name == lease.name, leases.c.holder == lease.holder)
                .values(renewed_at=self._now())
            ).rowcount
        if not renewed:
            raise Transient(
                f"Another run took over writing {lease.name}, because this one had not been heard "
                "of for too long. What it had sent is on account; run again for the rest."
            )

    def _take(self, lease: Lease) -> None:
        now = self._now()
        stale = now - LEASE_SECONDS * 1_000_000
        with self._engine.begin() as connection:
            connection.execute(
                sa.delete(leases).where(leases.c.name == lease.name, leases.c.renewed_at < stale)
            )
            other = connection.execute(
                sa.select(leases.c.holder).where(leases.c.name == lease.name)
            ).scalar()
            if other is not None and other != lease.holder:
                raise Transient(
                    f"Writing {lease.name} waits: run {other} is doing it. Only one run at a time "
                    "may create resources of a type. Wait for it, or for its lease to go stale "
                    f"({LEASE_SECONDS} s after its last sign of life)."
                )
            if other is None:
                try:
                    connection.execute(
                        sa.insert(leases).values(
                            name=lease.name, holder=lease.holder, renewed_at=now
                        )
                    )
                except sa.exc.IntegrityError as error:
                    raise Transient(
                        f"Writing {lease.name} waits: another run took the lease just now."
                    ) from error


def _advance(
    connection: sa.Connection, stream: str, watermark: int, *, run_id: int, now: int
) -> None:
    moved = {"watermark": watermark, "moved_at": now, "run_id": run_id}
    held = connection.execute(sa.select(marks.c.watermark).where(marks.c.stream == stream)).scalar()
    if held is None:
        connection.execute(sa.insert(marks).values(stream=stream, **moved))
    else:
        connection.execute(
            sa.update(marks)
            .where(marks.c.stream == stream, marks.c.watermark < watermark)
            .values(**moved)
        )


def _close_window(
    connection: sa.Connection, stream: str, window: tuple[str, int], *, run_id: int, now: int
) -> None:
    partition, rows = window
    connection.execute(
        sa.delete(windows).where(windows.c.stream == stream, windows.c.partition == partition)
    )
    connection.execute(
        sa.insert(windows).values(
            stream=stream, partition=partition, pulled_at=now, rows=rows, run_id=run_id
        )
    )
