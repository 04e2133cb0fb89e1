"""What changed of a part of a type: rows that landed, our writes, what is to be written back.

Belongs here: counting it for one cohort, or for what is in none (``cohort`` empty). Does not belong
here: who is in which (``cohorts``), or what a change means (``switching``). A row of which nothing
is noted may be in any part, and counts in each.
"""

from collections.abc import Iterable
from datetime import datetime

import sqlalchemy as sa

from migration_assets.manifest.cohort_tables import cohort_members
from migration_assets.manifest.outages import Database
from migration_assets.manifest.records import from_micros, to_micros
from migration_assets.manifest.schema import attempts, units
from migration_assets.manifest.switching import WROTE
from migration_assets.manifest.write_back_ends import WriteBack
from migration_assets.manifest.write_back_tables import write_backs

_TAKEN_BACK = (WriteBack.WRITTEN.value, WriteBack.UNCHANGED.value)


class CohortChanges:
    """What changed of the parts of types; each method is one transaction that changes nothing."""

    def __init__(self, read: Database) -> None:
        """``read`` begins transactions that change nothing."""
        self._read = read

    def landings(self, stream: str, declaration: str, cohort: str) -> int:
        """A number that moves with every row of the part that lands new or changed, or is gone.

        It falls when a row leaves the part, or is told to be in another.
        """
        query = (
            sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(units.c.revision), 0))
            .select_from(units.outerjoin(cohort_members, _noted(units.c.id, declaration)))
            .where(units.c.stream == stream, _in_part(cohort))
        )
        with self._read.begin() as connection:
            rows, revisions = connection.execute(query).one()
        return int(rows) + int(revisions)

    def landed_since(
        self,
        stream: str,
        declaration: str,
        cohort: str,
        moment: datetime,
        *,
        changed_since: datetime | None = None,
    ) -> int:
        """Rows of the part that landed otherwise after a moment, by no write-back of ours.

        ``changed_since``, by the source's time: what changed before it is left out.
        """
        ours = sa.exists().where(
            write_backs.c.unit_id == units.c.id,
            write_backs.c.state.in_(_TAKEN_BACK),
            write_backs.c.settled_at >= units.c.landed_at,
        )
        query = (
            sa.select(sa.func.count())
            .select_from(units.outerjoin(cohort_members, _noted(units.c.id, declaration)))
            .where(
                units.c.stream == stream,
                _in_part(cohort),
                units.c.landed_at > to_micros(moment),
                sa.not_(ours),
            )
        )
        if changed_since is not None:
            late = units.c.changed_at >= to_micros(changed_since)
            query = query.where(sa.or_(units.c.changed_at.is_(None), units.c.deleted, late))
        with self._read.begin() as connection:
            return int(connection.execute(query).scalar_one())

    def last_write(self, resource_type: str, declaration: str, cohort: str) -> datetime | None:
        """When we last changed a resource of the part in Medplum."""
        query = (
            sa.select(attempts.c.at)
            .select_from(
                attempts.outerjoin(cohort_members, _noted(attempts.c.unit_id, declaration))
            )
            .where(
                attempts.c.token.startswith(f"{resource_type}|", autoescape=True),
                attempts.c.event.in_(WROTE),
                _in_part(cohort),
            )
            .order_by(attempts.c.id.desc())
            .limit(1)
        )
        with self._read.begin() as connection:
            found = connection.execute(query).scalar()
        return None if found is None else from_micros(found)

    def write_backs(
        self, resource_types: Iterable[str], declaration: str, cohort: str
    ) -> dict[WriteBack, int]:
        """Changes in Medplum of the part, by what became of them; new resources have no row yet."""
        query = (
            sa.select(write_backs.c.state, sa.func.count())
            .select_from(
                write_backs.outerjoin(cohort_members, _noted(write_backs.c.unit_id, declaration))
            )
            .where(write_backs.c.resource_type.in_(list(resource_types)), _in_part(cohort))
            .group_by(write_backs.c.state)
        )
        with self._read.begin() as connection:
            return {WriteBack(state): int(number) for state, number in connection.execute(query)}


def _noted(unit: sa.ColumnElement[int], declaration: str) -> sa.ColumnElement[bool]:
    return sa.and_(cohort_members.c.unit_id == unit, cohort_members.c.declaration == declaration)


def _in_part(cohort: str) -> sa.ColumnElement[bool]:
    return sa.or_(cohort_members.c.cohort == cohort, cohort_members.c.cohort.is_(None))
