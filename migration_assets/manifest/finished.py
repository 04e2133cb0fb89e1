"""What certain runs finished: windows pulled to their end, streams swept.

Belongs here: whether a run that is tried again finds its work done. Does not belong here: which
runs belong together (``defs.resuming``), or writing any of it down (``marks``, ``sweeps``).
"""

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from datetime import datetime

import sqlalchemy as sa

from migration_assets.manifest.records import chunked, from_micros
from migration_assets.manifest.schema import runs, sweeps, windows

_BELIEVED = "believed"


class Finished:
    """Reads what runs, named by their labels, brought to its end."""

    def __init__(self, read: Callable[[], AbstractContextManager[sa.Connection]]) -> None:
        self._reading = read

    def windows(self, stream: str, labels: Collection[str]) -> dict[str, datetime]:
        """The partitions of ``stream`` that these runs were the last to pull, and when."""
        query = sa.select(windows.c.partition, windows.c.pulled_at).join(
            runs, runs.c.id == windows.c.run_id
        )
        found: dict[str, datetime] = {}
        with self._reading() as connection:
            for part in chunked(sorted(labels)):
                rows = connection.execute(
                    query.where(windows.c.stream == stream, runs.c.label.in_(part))
                )
                found.update((row.partition, from_micros(row.pulled_at)) for row in rows)
        return found

    def sweep(self, stream: str, labels: Collection[str]) -> datetime | None:
        """When one of these runs swept ``stream`` and was believed, or None."""
        query = sa.select(sa.func.max(sweeps.c.finished_at)).join(
            runs, runs.c.id == sweeps.c.run_id
        )
        ended: list[int] = []
        with self._reading() as connection:
            for part in chunked(sorted(labels)):
                moment = connection.execute(
                    query.where(
                        sweeps.c.stream == stream,
                        sweeps.c.verdict == _BELIEVED,
                        runs.c.label.in_(part),
                    )
                ).scalar()
                ended += [] if moment is None else [moment]
        return from_micros(max(ended)) if ended else None
