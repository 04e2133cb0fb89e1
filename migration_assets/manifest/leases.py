"""The right to be the only one who does a thing, until it goes stale.

Belongs here: taking, renewing and giving back a lease row. Does not belong here: what it is for.
"""

from dataclasses import dataclass

import sqlalchemy as sa

from migration_assets.errors import Busy, Transient
from migration_assets.manifest.schema import leases

LEASE_SECONDS = 600
"""After this long without renewal a lease may be taken over: longer than any one wait for quota."""


@dataclass(frozen=True)
class Lease:
    """The right to be the one creating writer of a type, or the one sweeper of a stream."""

    name: str
    holder: str


def take(connection: sa.Connection, lease: Lease, *, now: int) -> None:
    """Take a lease that nobody holds freshly; ``now`` in microseconds. Busy otherwise."""
    stale = now - LEASE_SECONDS * 1_000_000
    connection.execute(
        sa.delete(leases).where(leases.c.name == lease.name, leases.c.renewed_at < stale)
    )
    other = connection.execute(
        sa.select(leases.c.holder).where(leases.c.name == lease.name)
    ).scalar()
    if other is not None and other != lease.holder:
        raise Busy(
            f"Working on {lease.name} waits: run {other} is doing it, and only one run at a time "
            "may. Wait for it, or for its lease to go stale "
            f"({LEASE_SECONDS} s after its last sign of life)."
        )
    if other is None:
        try:
            connection.execute(
                sa.insert(leases).values(name=lease.name, holder=lease.holder, renewed_at=now)
            )
        except sa.exc.IntegrityError:
            raise Busy(
                f"Working on {lease.name} waits: another run took its lease just now."
            ) from None


def renew(connection: sa.Connection, lease: Lease, *, now: int) -> None:
    """Say that the holder is alive; Transient if another took the lease over meanwhile."""
    renewed = connection.execute(
        sa.update(leases)
        .where(leases.c.name == lease.name, leases.c.holder == lease.holder)
        .values(renewed_at=now)
    ).rowcount
    if not renewed:
        raise Transient(
            f"Another run took over {lease.name}, because this one had not been heard of for too "
            "long. What it had done is on account; run again for the rest."
        )


def give_back(connection: sa.Connection, lease: Lease) -> None:
    """Let the next one have it; nothing happens if it was taken over."""
    connection.execute(
        sa.delete(leases).where(leases.c.name == lease.name, leases.c.holder == lease.holder)
    )
