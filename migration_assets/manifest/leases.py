"""The right to be the only one who does a thing, until it goes stale.

Belongs here: taking, renewing and giving back a lease row. Does not belong here: what it is for.

Its holder renews it with each sign of life: before each bundle, in each longer wait, and in the
transaction that settles. One that slept until another took it over finds that out there, before it
sends or settles anything: each taking has a number of its own, so that two processes of one name
(two terminals, a run that is tried again) are never taken for each other.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import sqlalchemy as sa

from migration_assets.errors import Busy, Transient
from migration_assets.manifest.outages import Database
from migration_assets.manifest.schema import leases

LEASE_SECONDS = 600
"""After this long without renewal a lease may be taken over: longer than any one wait for quota."""


@dataclass(frozen=True)
class Lease:
    """The right to be the one creating writer of a type, or the one sweeper of a stream.

    ``taking`` tells this taking of it from every other, by whomever.
    """

    name: str
    holder: str
    taking: str

    @property
    def mark(self) -> str:
        """What stands in the row: who, and which taking."""
        return f"{self.holder}#{self.taking}"


def take(connection: sa.Connection, lease: Lease, *, now: int) -> None:
    """Take a lease that nobody holds freshly; ``now`` in microseconds. Busy otherwise."""
    stale = now - LEASE_SECONDS * 1_000_000
    connection.execute(
        sa.delete(leases).where(leases.c.name == lease.name, leases.c.renewed_at < stale)
    )
    other = connection.execute(sa.select(leases).where(leases.c.name == lease.name)).first()
    if other is None:
        try:
            connection.execute(
                sa.insert(leases).values(name=lease.name, holder=lease.mark, renewed_at=now)
            )
        except sa.exc.IntegrityError:
            raise Busy(
                f"Working on {lease.name} waits: another run took its lease just now."
            ) from None
    elif other.holder != lease.mark:
        silent = max(0, now - other.renewed_at) // 1_000_000
        raise Busy(
            f"Working on {lease.name} waits: run {other.holder.rsplit('#', 1)[0]} is doing it, and "
            f"only one run at a time may. It was last heard of {silent} s ago. Wait for it; if it "
            f"died, its lease goes stale {LEASE_SECONDS} s after its last sign of life and the "
            "next run takes over."
        )


def renewed(connection: sa.Connection, lease: Lease, *, now: int) -> bool:
    """Say that the holder is alive; False if another took the lease over meanwhile."""
    return bool(
        connection.execute(
            sa.update(leases)
            .where(leases.c.name == lease.name, leases.c.holder == lease.mark)
            .values(renewed_at=now)
        ).rowcount
    )


def taken_over(lease: Lease) -> Transient:
    """What the former holder is told."""
    return Transient(
        f"Another run took over {lease.name}, because this one had not been heard of for too "
        "long. What it had done is on account; run again for the rest."
    )


def give_back(connection: sa.Connection, lease: Lease) -> None:
    """Let the next one have it; nothing happens if it was taken over."""
    connection.execute(
        sa.delete(leases).where(leases.c.name == lease.name, leases.c.holder == lease.mark)
    )


@contextmanager
def hold(database: Database, lease: Lease, clock: Callable[[], int]) -> Iterator[Lease]:
    """Take the lease, and give it back at the end; raises as ``take`` does."""
    now = clock()
    database.again(lambda connection: take(connection, lease, now=now))
    try:
        yield lease
    finally:
        database.again(lambda connection: give_back(connection, lease))


def renew(database: Database, lease: Lease, *, now: int) -> None:
    """Say that the holder is alive; Transient if another took the lease over meanwhile."""
    if not database.again(lambda connection: renewed(connection, lease, now=now)):
        raise taken_over(lease)


@dataclass(frozen=True)
class Held:
    """Who holds a lease, and since when nothing was heard of it."""

    name: str
    holder: str
    taking: str
    silent_seconds: float


class Holders:
    """Reads who holds a lease, and frees what a dead one holds."""

    def __init__(
        self,
        begin: Callable[[], AbstractContextManager[sa.Connection]],
        read: Callable[[], AbstractContextManager[sa.Connection]],
        now: Callable[[], int],
    ) -> None:
        self._begin = begin
        self._reading = read
        self._now = now

    def of(self, name: str) -> Held | None:
        """Who holds the lease called ``name``, or None."""
        with self._reading() as connection:
            row = connection.execute(sa.select(leases).where(leases.c.name == name)).first()
        if row is None:
            return None
        holder, _, taking = row.holder.rpartition("#")
        return Held(name, holder, taking, max(0, self._now() - row.renewed_at) / 1_000_000)

    def free(self, held: Held) -> None:
        """Take the lease from that very holder, who is dead; nothing happens if it is not his."""
        with self._begin() as connection:
            give_back(connection, Lease(held.name, held.holder, held.taking))
