"""Pauses: streams that stand still because too much of them failed, until someone resumes them.

Belongs here: writing a pause down and ending it. Does not belong here: when too much is too much.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from migration_assets.manifest.outages import Database
from migration_assets.manifest.records import from_micros
from migration_assets.manifest.schema import pauses


@dataclass(frozen=True)
class Pause:
    """One stream that stands still: ``failed`` of ``seen`` rows, by reason."""

    stream: str
    run_id: int
    at: datetime
    failed: int
    seen: int
    reasons: Mapping[str, int]


class Pauses:
    """The pauses of one manifest; each method is one transaction."""

    def __init__(self, engine: Database, read: Database, now: Callable[[], int]) -> None:
        self._engine = engine
        self._read = read
        self._now = now

    def standing(self) -> dict[str, Pause]:
        """The streams that are paused now."""
        query = sa.select(pauses).where(pauses.c.resumed_at.is_(None)).order_by(pauses.c.id)
        with self._read.begin() as connection:
            return {
                row.stream: Pause(
                    row.stream,
                    row.run_id,
                    from_micros(row.paused_at),
                    row.failed,
                    row.seen,
                    json.loads(row.reasons),
                )
                for row in connection.execute(query)
            }

    def pause(
        self, stream: str, *, run_id: int, failed: int, seen: int, reasons: Mapping[str, int]
    ) -> None:
        """Have a stream stand still, unless it does already."""
        with self._engine.begin() as connection:
            open_ = sa.select(pauses.c.id).where(
                pauses.c.stream == stream, pauses.c.resumed_at.is_(None)
            )
            if connection.execute(open_).first() is None:
                connection.execute(
                    sa.insert(pauses).values(
                        stream=stream,
                        run_id=run_id,
                        paused_at=self._now(),
                        failed=failed,
                        seen=seen,
                        reasons=json.dumps(dict(reasons)),
                    )
                )

    def resume(self, stream: str, *, by: str, note: str | None = None) -> bool:
        """Let a stream go on; says whether it stood still."""
        with self._engine.begin() as connection:
            ended = connection.execute(
                sa.update(pauses)
                .where(pauses.c.stream == stream, pauses.c.resumed_at.is_(None))
                .values(resumed_at=self._now(), resumed_by=by, note=note)
            )
        return ended.rowcount > 0
