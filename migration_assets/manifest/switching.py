"""The record of the adoption: changes of phase, published flags, and what their evidence needs.

Belongs here: keeping and reading both; the last write of a type; rows that changed since a moment,
with what we did about them. Does not belong here: what a gate asks for (``adoption``).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
import sqlalchemy as sa

from migration_assets.manifest.outages import Database
from migration_assets.manifest.records import State, chunked, from_micros, to_micros
from migration_assets.manifest.schema import attempts, runs, targets, units
from migration_assets.manifest.switching_tables import flag_publications, phase_changes

_PAGE = 500
_REMEMBERED = 500
WROTE = ("created", "changed", "deleted", "overwrote-edit")
"""What an attempt came to that changed a resource."""


@dataclass(frozen=True, kw_only=True)
class PhaseChange:
    """One type moved from a phase to another; ``applied_at`` None: it was cut off before.

    ``cohort``: only that part of it; None where all was moved that is in no cohort.
    """

    resource_type: str
    was: str
    becomes: str
    began_at: datetime
    by: str
    forced: bool = False
    reason: str | None = None
    evidence: Mapping[str, Any]
    applied_at: datetime | None = None
    cohort: str | None = None
    id: int = 0


@dataclass(frozen=True, kw_only=True)
class Publication:
    """Flags that were written somewhere, and how that went, by place."""

    published_at: datetime
    by: str
    flags: Mapping[str, Any]
    written: Mapping[str, Any]


@dataclass(frozen=True)
class Touched:
    """A unit whose row changed, and (event, status) of what we did about it since.

    ``done_now`` is what was done since its content landed, ``tokens`` whatever it was done to.
    """

    unit_id: int
    state: State
    reason: str
    done: frozenset[tuple[str, str]]
    key: str = ""
    done_now: frozenset[tuple[str, str]] = frozenset()
    tokens: frozenset[str] = frozenset()


class Switching:
    """The adoption of one manifest; each method is one transaction."""

    def __init__(self, engine: Database, read: Database, now: Callable[[], int]) -> None:
        """``read`` begins transactions that change nothing."""
        self._engine = engine
        self._read = read
        self._now = now

    # -- phases -------------------------------------------------------------------------------

    def begin(
        self,
        types: Mapping[str, str],
        becomes: str,
        *,
        by: str,
        evidence: Mapping[str, Any],
        forced: bool = False,
        reason: str | None = None,
        cohort: str | None = None,
    ) -> list[int]:
        """Write down that ``types`` (with the phase each was in) are about to be moved."""
        text = orjson.dumps(dict(evidence), option=orjson.OPT_SORT_KEYS).decode()
        made: list[int] = []
        with self._engine.begin() as connection:
            now = self._now()
            for each, was in types.items():
                key = connection.execute(
                    sa.insert(phase_changes).values(
                        resource_type=each,
                        cohort=cohort,
                        was=was,
                        becomes=becomes,
                        began_at=now,
                        by=by,
                        forced=forced,
                        reason=reason,
                        evidence=text,
                    )
                ).inserted_primary_key
                made.append(int(key[0]) if key else 0)
        return made

    def applied(self, numbers: Iterable[int]) -> None:
        """Write down that the file says so now."""
        done = (
            sa.update(phase_changes)
            .where(phase_changes.c.id.in_(list(numbers)))
            .values(applied_at=self._now())
        )
        self._engine.again(lambda connection: connection.execute(done).close())

    def changes(self, resource_type: str | None = None, *, limit: int = 50) -> list[PhaseChange]:
        """The last changes, newest first, those that were cut off too."""
        query = sa.select(phase_changes).order_by(phase_changes.c.id.desc()).limit(limit)
        if resource_type is not None:
            query = query.where(phase_changes.c.resource_type == resource_type)
        with self._read.begin() as connection:
            return [_change(row) for row in connection.execute(query)]

    def since(self, resource_type: str, phase: str, cohort: str | None = None) -> datetime | None:
        """When a type was moved to the phase it is in; None if that is not on account."""
        done = (
            each
            for each in self.changes(resource_type, limit=_REMEMBERED)
            if each.applied_at is not None and each.cohort == cohort
        )
        last = next(done, None)
        return last.applied_at if last is not None and last.becomes == phase else None

    def moved_during(self, resource_type: str, run_id: int) -> bool:
        """Whether a type was moved since a run began: what the run knows of it is outdated."""
        query = sa.select(phase_changes.c.id).where(
            phase_changes.c.resource_type == resource_type,
            phase_changes.c.began_at
            >= sa.select(runs.c.started_at).where(runs.c.id == run_id).scalar_subquery(),
        )
        with self._read.begin() as connection:
            return connection.execute(query.limit(1)).first() is not None

    # -- flags --------------------------------------------------------------------------------

    def published(self, flags: str, written: Mapping[str, Any], *, by: str) -> None:
        """Write down what front ends are told from now on, and where."""
        row = {
            "published_at": self._now(),
            "by": by,
            "flags": flags,
            "written": orjson.dumps(dict(written), option=orjson.OPT_SORT_KEYS).decode(),
        }
        with self._engine.begin() as connection:
            connection.execute(sa.insert(flag_publications).values(**row))

    def publications(self, *, limit: int = 20) -> list[Publication]:
        """What was published last, newest first."""
        query = sa.select(flag_publications).order_by(flag_publications.c.id.desc()).limit(limit)
        with self._read.begin() as connection:
            return [
                Publication(
                    published_at=from_micros(row.published_at),
                    by=row.by,
                    flags=orjson.loads(row.flags),
                    written=orjson.loads(row.written),
                )
                for row in connection.execute(query)
            ]

    # -- evidence -----------------------------------------------------------------------------

    def last_write(self, resource_type: str) -> datetime | None:
        """When we last changed a resource of a type in Medplum."""
        query = (
            sa.select(attempts.c.at)
            .where(
                attempts.c.token.startswith(f"{resource_type}|", autoescape=True),
                attempts.c.event.in_(WROTE),
            )
            .order_by(attempts.c.id.desc())
            .limit(1)
        )
        with self._read.begin() as connection:
            found = connection.execute(query).scalar()
        return None if found is None else from_micros(found)

    def written_since(self, resource_type: str, moment: datetime) -> int:
        """How many resources of a type Medplum confirmed to us from a moment on."""
        query = sa.select(sa.func.count()).where(
            targets.c.resource_type == resource_type, targets.c.confirmed_at >= to_micros(moment)
        )
        with self._read.begin() as connection:
            return int(connection.execute(query).scalar_one())

    def unproved(self, resource_type: str) -> int:
        """Resources whose last write was never confirmed, of units that are not held for it."""
        query = (
            sa.select(sa.func.count())
            .select_from(targets.join(units, units.c.id == targets.c.unit_id))
            .where(
                targets.c.resource_type == resource_type,
                sa.or_(
                    targets.c.sent.is_not(None),
                    sa.and_(targets.c.fhir_id.is_(None), targets.c.deleted.is_(False)),
                ),
                units.c.state.not_in((State.QUARANTINED.value, State.REJECTED.value)),
            )
        )
        with self._read.begin() as connection:
            return int(connection.execute(query).scalar_one())

    def touched(self, stream: str, since: datetime) -> Iterator[list[Touched]]:
        """Units whose row changed at or after ``since``, with what we did about each since.

        Deleted rows count from when they landed: they keep the change time they had.
        """
        after, moment = 0, to_micros(since)
        changed = sa.or_(
            units.c.changed_at >= moment,
            sa.and_(units.c.deleted, units.c.landed_at >= moment),
        )
        while True:
            query = (
                sa.select(units.c.id, units.c.key, units.c.state, units.c.reason, units.c.landed_at)
                .where(units.c.stream == stream, units.c.id > after, changed)
                .order_by(units.c.id)
                .limit(_PAGE)
            )
            with self._read.begin() as connection:
                page = connection.execute(query).all()
                done = _done(connection, [row.id for row in page], moment)
            yield [
                Touched(
                    row.id,
                    State(row.state),
                    row.reason or "",
                    frozenset((event, status) for event, status, _at, _name in done[row.id]),
                    row.key,
                    frozenset(
                        (event, status)
                        for event, status, at, _name in done[row.id]
                        if at >= row.landed_at
                    ),
                    frozenset(name for _event, _status, _at, name in done[row.id]),
                )
                for row in page
            ]
            if len(page) < _PAGE:
                return
            after = page[-1].id


def _done(
    connection: sa.Connection, numbers: list[int], since: int
) -> dict[int, list[tuple[str, str, int, str]]]:
    """Event, status, moment and token of what was tried of each."""
    found: dict[int, list[tuple[str, str, int, str]]] = {each: [] for each in numbers}
    columns = (attempts.c.event, attempts.c.status, attempts.c.at, attempts.c.token)
    for part in chunked(numbers):
        query = sa.select(attempts.c.unit_id, *columns).where(
            attempts.c.unit_id.in_(part), attempts.c.at >= since
        )
        for unit_id, *what in connection.execute(query):
            found[unit_id].append((what[0], what[1], what[2], what[3]))
    return found


def _change(row: Any) -> PhaseChange:
    return PhaseChange(
        id=row.id,
        resource_type=row.resource_type,
        cohort=row.cohort,
        was=row.was,
        becomes=row.becomes,
        began_at=from_micros(row.began_at),
        applied_at=None if row.applied_at is None else from_micros(row.applied_at),
        by=row.by,
        forced=row.forced,
        reason=row.reason,
        evidence=orjson.loads(row.evidence),
    )
