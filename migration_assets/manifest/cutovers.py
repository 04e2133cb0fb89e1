"""The record of cutovers: what was declared before one began, every look at its steps, its end.

Belongs here: keeping and reading both, and the number by which a quiet stream is told. Does not
belong here: the steps and their order (``switching.cutover``). Evidence is counts, times and
numbers of other records; no row is quoted.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
import sqlalchemy as sa

from migration_assets.errors import Permanent
from migration_assets.manifest.cutover_tables import cutover_steps, cutovers
from migration_assets.manifest.outages import Database
from migration_assets.manifest.records import from_micros
from migration_assets.manifest.schema import units


@dataclass(frozen=True, kw_only=True)
class Cutover:
    """One cutover; ``ended_at`` None: it is under way.

    ``cohort`` None: all of the type, or of a type with cohorts what is in none of them.
    """

    id: int
    resource_type: str
    began_at: datetime
    by: str
    plan: Mapping[str, Any]
    cohort: str | None = None
    ended_at: datetime | None = None
    ended_by: str | None = None
    outcome: str | None = None
    reason: str | None = None

    @property
    def name(self) -> str:
        """What is cut over, for people."""
        if self.cohort is not None:
            return f"{self.resource_type}, cohort {self.cohort}"
        return (
            f"{self.resource_type}, in no cohort" if self.plan.get("part") else self.resource_type
        )


@dataclass(frozen=True, kw_only=True)
class Look:
    """One look at a step; ``ended_at`` None: it was cut off, and tells nothing."""

    id: int
    step: str
    began_at: datetime
    by: str
    ended_at: datetime | None = None
    outcome: str | None = None
    said: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)


class Cutovers:
    """The cutovers of one manifest; each method is one transaction."""

    def __init__(self, engine: Database, read: Database, now: Callable[[], int]) -> None:
        """``read`` begins transactions that change nothing."""
        self._engine = engine
        self._read = read
        self._now = now

    def begin(
        self, resource_type: str, plan: Mapping[str, Any], *, by: str, cohort: str | None = None
    ) -> Cutover:
        """Begin one.

        Raises:
            Permanent: one of that part of the type is under way.
        """
        same = _open(resource_type).where(
            cutovers.c.cohort.is_(None) if cohort is None else cutovers.c.cohort == cohort
        )
        with self._engine.begin() as connection:
            found = connection.execute(same).first()
            if found is not None:
                raise Permanent(f"A cutover of {_cutover(found).name} is under way already.")
            key = connection.execute(
                sa.insert(cutovers).values(
                    resource_type=resource_type,
                    cohort=cohort,
                    began_at=self._now(),
                    by=by,
                    plan=_text(plan),
                )
            ).inserted_primary_key
            query = sa.select(cutovers).where(cutovers.c.id == (key[0] if key else 0))
            return _cutover(connection.execute(query).one())

    def under_way(self, resource_type: str | None = None) -> list[Cutover]:
        """Those that have not ended, oldest first."""
        with self._read.begin() as connection:
            return [_cutover(row) for row in connection.execute(_open(resource_type))]

    def get(self, number: int) -> Cutover | None:
        """One of them."""
        with self._read.begin() as connection:
            row = connection.execute(sa.select(cutovers).where(cutovers.c.id == number)).first()
        return None if row is None else _cutover(row)

    def latest(self, resource_type: str | None = None, *, limit: int = 20) -> list[Cutover]:
        """The last ones, newest first."""
        query = sa.select(cutovers).order_by(cutovers.c.id.desc()).limit(limit)
        if resource_type is not None:
            query = query.where(cutovers.c.resource_type == resource_type)
        with self._read.begin() as connection:
            return [_cutover(row) for row in connection.execute(query)]

    def end(self, number: int, outcome: str, *, by: str, reason: str | None = None) -> None:
        """Write down how a cutover ended; nothing happens if it has."""
        ended = (
            sa.update(cutovers)
            .where(cutovers.c.id == number, cutovers.c.ended_at.is_(None))
            .values(ended_at=self._now(), ended_by=by, outcome=outcome, reason=reason)
        )
        self._engine.again(lambda connection: connection.execute(ended).close())

    def look(self, number: int, step: str, *, by: str) -> int:
        """Write down that a step is looked at."""
        began = sa.insert(cutover_steps).values(
            cutover_id=number, step=step, began_at=self._now(), by=by, evidence="{}"
        )
        with self._engine.begin() as connection:
            key = connection.execute(began).inserted_primary_key
        return int(key[0]) if key else 0

    def looked(self, look: int, outcome: str, said: str, evidence: Mapping[str, Any]) -> None:
        """Write down what a look found."""
        ended = (
            sa.update(cutover_steps)
            .where(cutover_steps.c.id == look)
            .values(ended_at=self._now(), outcome=outcome, said=said, evidence=_text(evidence))
        )
        self._engine.again(lambda connection: connection.execute(ended).close())

    def looks(self, number: int) -> list[Look]:
        """Every look of a cutover that was not cut off, oldest first."""
        query = (
            sa.select(cutover_steps)
            .where(cutover_steps.c.cutover_id == number, cutover_steps.c.ended_at.is_not(None))
            .order_by(cutover_steps.c.id)
        )
        with self._read.begin() as connection:
            return [_look(row) for row in connection.execute(query)]

    def landings(self, stream: str) -> int:
        """A number that grows with every row of a stream that lands new or changed, or is gone.

        Whoever lands it: the puller, a sweep, an inbox. The same number twice: nothing did.
        """
        query = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(units.c.revision), 0))
        with self._read.begin() as connection:
            rows, revisions = connection.execute(query.where(units.c.stream == stream)).one()
        return int(rows) + int(revisions)


def _open(resource_type: str | None) -> sa.Select[Any]:
    query = sa.select(cutovers).where(cutovers.c.ended_at.is_(None)).order_by(cutovers.c.id)
    return (
        query if resource_type is None else query.where(cutovers.c.resource_type == resource_type)
    )


def _text(value: Mapping[str, Any]) -> str:
    return orjson.dumps(dict(value), option=orjson.OPT_SORT_KEYS).decode()


def _cutover(row: Any) -> Cutover:
    return Cutover(
        id=row.id,
        resource_type=row.resource_type,
        cohort=row.cohort,
        began_at=from_micros(row.began_at),
        by=row.by,
        plan=orjson.loads(row.plan),
        ended_at=None if row.ended_at is None else from_micros(row.ended_at),
        ended_by=row.ended_by,
        outcome=row.outcome,
        reason=row.reason,
    )


def _look(row: Any) -> Look:
    return Look(
        id=row.id,
        step=row.step,
        began_at=from_micros(row.began_at),
        by=row.by,
        ended_at=from_micros(row.ended_at),
        outcome=row.outcome,
        said=row.said or "",
        evidence=orjson.loads(row.evidence),
    )
