"""Which streams wait for what other types deliver.

Belongs here: asking so, cheaply, for whoever decides who takes part in a pull. Does not belong
here: releasing what waits (``account``), or linking it again (``moves``).
"""

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager

import sqlalchemy as sa

from migration_assets.manifest.schema import moved, units


class Waiting:
    """Streams that wait; each method is one transaction that changes nothing."""

    def __init__(self, read: Callable[[], AbstractContextManager[sa.Connection]]) -> None:
        self._read = read

    def streams(self, types: Collection[str]) -> set[str]:
        """Those with units that wait for a resource of ``types``; no further.

        What waits for a unit that waits itself is found by asking again, with that unit's types.
        """
        if not types:
            return set()
        query = (
            sa.select(units.c.stream)
            .where(
                units.c.awaiting.is_not(None),
                sa.or_(
                    *(units.c.awaiting.startswith(f"{each}|", autoescape=True) for each in types)
                ),
            )
            .distinct()
        )
        with self._read() as connection:
            return set(connection.execute(query).scalars())

    def unlinked(self) -> set[str]:
        """Those that were not told yet of resources that are under another id now."""
        with self._read() as connection:
            return set(connection.execute(sa.select(moved.c.stream).distinct()).scalars())
