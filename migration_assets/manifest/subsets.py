"""Subsets: some units of a stream, chosen the same way every time.

Belongs here: which units a limit, keys, a sample or a window of change time mean. Does not belong
here: what is done with them.
"""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b

import sqlalchemy as sa

from migration_assets.errors import Permanent
from migration_assets.manifest.account import with_targets
from migration_assets.manifest.records import State, Unit, chunked, to_micros
from migration_assets.manifest.schema import units


@dataclass(frozen=True, kw_only=True)
class Subset:
    """Some units of a stream; what is left out does not restrict.

    ``sample`` of all units of the stream, by ``seed``: the same units every time, whatever became
    of them, unless rows come or go. ``limit`` is applied last, in landing order. ``since`` and
    ``until`` are of the change time: [since, until).
    """

    limit: int | None = None
    keys: tuple[str, ...] = ()
    sample: int | None = None
    seed: int = 0
    since: datetime | None = None
    until: datetime | None = None

    def __post_init__(self) -> None:
        if min(self.limit or 1, self.sample or 1) < 1 or 0 in (self.limit, self.sample):
            raise Permanent("A subset's limit and sample must be 1 or more, or left out.")

    @property
    def is_everything(self) -> bool:
        """Whether nothing is left out."""
        return self == Subset(seed=self.seed)

    def sampled(self, named: Iterable[tuple[int, str]]) -> list[int]:
        """The sample among numbered keys, or all of them; numbers in their order."""
        if self.sample is None:
            return [number for number, _key in named]
        drawn = heapq.nsmallest(self.sample, ((self.lot(key), number) for number, key in named))
        return sorted(number for _lot, number in drawn)

    def lot(self, key: str) -> bytes:
        """What decides whether a key is in the sample; as good as random, and no state."""
        return blake2b(f"{self.seed}:{key}".encode(errors="surrogatepass"), digest_size=8).digest()


def chosen(
    connection: sa.Connection, stream: str, subset: Subset, *, pending_only: bool
) -> list[int]:
    """Numbers of the units of ``stream`` that a subset means, in landing order.

    ``pending_only``: of them, or with a limit so many, those that are pending.
    """
    base = sa.select(units.c.id, units.c.key).where(units.c.stream == stream)
    if subset.since is not None:
        base = base.where(units.c.changed_at >= to_micros(subset.since))
    if subset.until is not None:
        base = base.where(units.c.changed_at < to_micros(subset.until))
    queries = [base.where(units.c.key.in_(part)) for part in chunked(dict.fromkeys(subset.keys))]
    named = [
        (row.id, row.key)
        for query in (queries or [base])
        for row in connection.execute(query.order_by(units.c.id))
    ]
    numbers = sorted(subset.sampled(named))
    if pending_only:
        numbers = _pending(connection, numbers)
    return numbers if subset.limit is None else numbers[: subset.limit]


def _pending(connection: sa.Connection, numbers: Sequence[int]) -> list[int]:
    kept: list[int] = []
    for part in chunked(map(str, numbers)):
        query = sa.select(units.c.id).where(
            units.c.id.in_(list(map(int, part))), units.c.state == State.PENDING.value
        )
        kept += connection.execute(query.order_by(units.c.id)).scalars()
    return kept


def pending_among(connection: sa.Connection, numbers: Sequence[int]) -> list[Unit]:
    """Those of the units that are pending (still), in landing order, with their targets."""
    query = (
        sa.select(units)
        .where(units.c.id.in_(numbers), units.c.state == State.PENDING.value)
        .order_by(units.c.id)
    )
    return with_targets(connection, connection.execute(query).all())
