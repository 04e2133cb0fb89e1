"""What runs wrote, read back from the attempts, and the way to the record of its undoing.

Belongs here: which run wrote a resource last, and which version it made of it. Does not belong
here: what is written down of an undo (``retractions``), or restoring (``undoing``).

The attempts on one resource, in order, are a pile: each run puts its writes on top, an undo takes
the topmost run's away. Only what lies on top can be undone.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from migration_assets.manifest import retractions
from migration_assets.manifest.leases import Lease
from migration_assets.manifest.outages import Database
from migration_assets.manifest.records import Settlement, Target, chunked, from_micros
from migration_assets.manifest.schema import attempts, runs, targets, units

WRITES = ("created", "changed", "confirmed", "deleted", "overwrote-edit")
"""Events of attempts that changed what Medplum holds; ``confirmed`` is a write of ours whose
answer was lost."""
UNDOES = ("undone-created", "undone-changed", "undone-deleted")
"""Events of attempts that took such a write back, named by what was undone."""


@dataclass(frozen=True)
class RunWrote:
    """A run and how many resources it wrote, by type and event."""

    id: int
    label: str
    started_at: datetime
    finished_at: datetime | None
    wrote: tuple[tuple[str, str, int], ...] = ()


@dataclass(frozen=True)
class Written:
    """One resource that a run wrote and that was not undone yet.

    ``first_event`` is the run's first write, ``first_version`` the oldest version the run made
    (None: it only deleted). ``expected`` is the version Medplum holds unless somebody else wrote
    it since, None if it was deleted. ``later_run`` wrote it after the run.
    """

    unit_id: int
    token: str
    fhir_id: str
    first_event: str
    first_version: str | None
    expected: str | None
    later_run: int | None = None


@dataclass(frozen=True)
class WrittenUnit:
    """A unit and the resources of it that a run wrote, those written last first."""

    id: int
    stream: str
    key: str
    resources: tuple[Written, ...]


@dataclass
class _Pile:
    """The writes on one resource that stand, by run, and what is in Medplum after all of them."""

    writes: list[tuple[int, list[Any]]] = field(default_factory=list)
    expected: str | None = None
    fhir_id: str = ""

    def add(self, attempt: Any) -> None:
        if attempt.event in UNDOES:
            self.writes = self.writes[:-1]
        elif self.writes and self.writes[-1][0] == attempt.run_id:
            self.writes[-1][1].append(attempt)
        else:
            self.writes.append((attempt.run_id, [attempt]))
        # A deletion's answer names no version.
        self.expected = None if attempt.method == "DELETE" else attempt.version_id
        self.fhir_id = attempt.fhir_id or self.fhir_id

    def without(self, undone: AbstractSet[int]) -> None:
        while self.writes and self.writes[-1][0] in undone:
            self.writes.pop()


class History:
    """The attempts as a history; each method is one transaction."""

    def __init__(
        self,
        database: Database,
        read: Callable[[], AbstractContextManager[sa.Connection]],
        now: Callable[[], int],
    ) -> None:
        self._database = database
        self._reading = read
        self._now = now

    def latest_runs(self, limit: int) -> list[RunWrote]:
        """The latest runs that wrote or undid anything, newest first."""
        with self._reading() as connection:
            wrote = _counts(connection, None)
            query = sa.select(runs).where(runs.c.id.in_(sorted(wrote)[-limit:]))
            found = connection.execute(query.order_by(runs.c.id.desc())).all()
        return [_run(row, wrote) for row in found]

    def runs_called(self, name: str) -> list[RunWrote]:
        """The run of that number, or all those with that label (a Dagster run id), newest first."""
        number = int(name) if name.isascii() and name.isdigit() else None
        named = runs.c.label == name if number is None else runs.c.id == number
        with self._reading() as connection:
            found = connection.execute(
                sa.select(runs).where(named).order_by(runs.c.id.desc())
            ).all()
            wrote = _counts(connection, [row.id for row in found])
        return [_run(row, wrote) for row in found]

    def units_written(self, run_id: int) -> list[int]:
        """Numbers of the units of which a run wrote something, those written last first."""
        query = (
            sa.select(attempts.c.unit_id)
            .where(attempts.c.run_id == run_id, attempts.c.event.in_(WRITES), _changed_something())
            .group_by(attempts.c.unit_id)
            .order_by(sa.func.max(attempts.c.id).desc())
        )
        with self._reading() as connection:
            return list(connection.execute(query).scalars())

    def units_written_after(
        self, run_id: int, streams: Sequence[str], *, beyond: AbstractSet[int] = frozenset()
    ) -> list[int]:
        """Numbers of the units of ``streams`` that later runs wrote, those ``beyond`` left out."""
        query = (
            sa.select(attempts.c.unit_id)
            .join(units, units.c.id == attempts.c.unit_id)
            .where(
                attempts.c.run_id > run_id,
                attempts.c.run_id.not_in(sorted(beyond)),
                attempts.c.event.in_(WRITES),
                units.c.stream.in_(streams),
            )
            .distinct()
        )
        with self._reading() as connection:
            return sorted(connection.execute(query).scalars())

    def written(
        self, run_id: int, unit_ids: Sequence[int], *, beyond: AbstractSet[int] = frozenset()
    ) -> list[WrittenUnit]:
        """What a run wrote of these units and is not undone, in the order of ``unit_ids``.

        ``beyond``: later runs to be taken as undone already, for a rehearsal of several.
        """
        with self._reading() as connection:
            rows = _attempts(connection, unit_ids)
            found = connection.execute(
                sa.select(units.c.id, units.c.stream, units.c.key).where(units.c.id.in_(unit_ids))
            )
            known = {row.id: row for row in found}
        piles: dict[str, _Pile] = defaultdict(_Pile)
        mine: dict[int, dict[str, int]] = defaultdict(dict)
        for row in rows:
            piles[row.token].add(row)
            if row.run_id == run_id and row.event in WRITES:
                mine[row.unit_id][row.token] = row.id
        for pile in piles.values():
            pile.without(beyond)
        made: list[WrittenUnit] = []
        for unit_id in unit_ids:
            last_first = sorted(mine[unit_id], key=lambda name: -mine[unit_id][name])
            of_unit = [_written(unit_id, name, piles[name], run_id) for name in last_first]
            resources = tuple(each for each in of_unit if each is not None)
            if resources:
                row = known[unit_id]
                made.append(WrittenUnit(unit_id, row.stream, row.key, resources))
        return made

    def intend(
        self, wanted: Mapping[int, Sequence[Target]], *, run_id: int, leases: Iterable[Lease] = ()
    ) -> retractions.Former:
        """Write down what is about to be undone, before anything is sent: units, and resources.

        Raises:
            Transient: another run took one of the leases over; nothing is written.
        """
        return retractions.intend(
            self._database, wanted, run_id=run_id, now=self._now(), leases=leases
        )

    def settle(
        self,
        undone: Iterable[Settlement],
        tried: Iterable[Settlement] = (),
        *,
        run_id: int,
        leases: Iterable[Lease] = (),
        former: retractions.Former | None = None,
    ) -> None:
        """Append the attempts, keep the targets; ``undone`` units go into quarantine as such.

        Whatever their revision: a row that changed meanwhile is held with them. Of ``tried`` only
        attempts and targets are kept; those of which nothing was written stand as in ``former``.

        Raises:
            Transient: another run took one of the leases over (``retractions.settle``).
        """
        retractions.settle(
            self._database,
            list(undone),
            list(tried),
            run_id=run_id,
            now=self._now(),
            leases=leases,
            former=former,
        )


def _changed_something() -> sa.ColumnElement[bool]:
    """Writes and undoes; a deletion of what was not there any more (404, 410) was neither."""
    return sa.and_(
        attempts.c.event.in_((*WRITES, *UNDOES)),
        sa.or_(attempts.c.event != "deleted", attempts.c.status.like("2%")),
    )


def _attempts(connection: sa.Connection, unit_ids: Sequence[int]) -> list[Any]:
    """All writes and undoes of the units, and of those that own their resources now."""
    touched = sa.select(attempts.c.token).where(attempts.c.unit_id.in_(unit_ids))
    owners = connection.execute(
        sa.select(targets.c.unit_id).where(targets.c.token.in_(touched)).distinct()
    ).scalars()
    wanted = sorted({*unit_ids, *owners})
    query = (
        sa.select(attempts)
        .where(attempts.c.unit_id.in_(wanted), _changed_something())
        .order_by(attempts.c.id)
    )
    return list(connection.execute(query).all())


def _written(unit_id: int, name: str, pile: _Pile, run_id: int) -> Written | None:
    """The resource as the run left it, or None if that is undone."""
    places = [at for at, (run, _writes) in enumerate(pile.writes) if run == run_id]
    if not places:
        return None
    first = pile.writes[places[0]][1]
    others = [run for run, _writes in pile.writes[places[0] :] if run != run_id]
    versions = [
        each.version_id for each in first if each.method != "DELETE" and each.version_id is not None
    ]
    return Written(
        unit_id,
        name,
        pile.fhir_id,
        first[0].event,
        versions[0] if versions else None,
        pile.expected,
        others[-1] if others else None,
    )


def _counts(
    connection: sa.Connection, run_ids: Sequence[int] | None
) -> dict[int, list[tuple[str, str, int]]]:
    """Resources written and undone, by run: type, event and number."""
    kind = sa.func.substr(attempts.c.token, 1, _bar(connection) - 1).label("kind")
    query = (
        sa.select(attempts.c.run_id, kind, attempts.c.event, sa.func.count().label("n"))
        .where(_changed_something())
        .group_by(attempts.c.run_id, kind, attempts.c.event)
        .order_by(attempts.c.run_id, kind, attempts.c.event)
    )
    parts = [None] if run_ids is None else chunked(map(str, run_ids))
    counts: dict[int, list[tuple[str, str, int]]] = defaultdict(list)
    for part in parts:
        some = query if part is None else query.where(attempts.c.run_id.in_(map(int, part)))
        for row in connection.execute(some):
            counts[row.run_id].append((row.kind, row.event, row.n))
    return counts


def _bar(connection: sa.Connection) -> sa.Function[int]:
    """Where a token's type ends."""
    if connection.dialect.name == "postgresql":
        return sa.func.strpos(attempts.c.token, "|")
    return sa.func.instr(attempts.c.token, "|")


def _run(row: Any, wrote: dict[int, list[tuple[str, str, int]]]) -> RunWrote:
    finished = None if row.finished_at is None else from_micros(row.finished_at)
    return RunWrote(
        row.id, row.label, from_micros(row.started_at), finished, tuple(wrote.get(row.id, ()))
    )
