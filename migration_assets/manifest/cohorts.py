"""Who was in which cohort when it was last told; and what is counted of a cohort.

Belongs here: keeping and reading that, units that were left out because Medplum owns their cohort.
Does not belong here: telling membership (``steps.cohorts``), or what a cohort is (``adoption``).

A note counts under the declaration it was made by: other terms in adoption.toml are other cohorts,
and everything is told anew.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from migration_assets.manifest.cohort_tables import cohort_members
from migration_assets.manifest.dead_letters import Choice, is_open
from migration_assets.manifest.outages import Database
from migration_assets.manifest.records import Balance, State, chunked, from_micros
from migration_assets.manifest.schema import decisions, targets, units

NOT_OURS = "medplum-owns-cohort"
"""Reason of a row that is left out because Medplum owns the cohort it is in; field: the cohort."""
REHEARSED = "cohort-rehearses"
"""Reason of a row that is left out because its cohort only rehearses; field: the cohort."""
LEFT_OUT = (NOT_OURS, REHEARSED)
MOVED = "cohort-moved"
"""Reason of a row that came into another cohort, or left it, where Medplum owns one of both."""


@dataclass(frozen=True)
class Fact:
    """What the account knows of a unit beside its row; ``noted`` is None where nothing was noted.

    ``sent_on``: a person redelivered it after it had moved, and its row is still the same.
    """

    changed_at: datetime | None
    noted: str | None
    sent_on: bool


class Cohorts:
    """The cohorts of one manifest; each method is one transaction."""

    def __init__(self, engine: Database, read: Database, now: Callable[[], int]) -> None:
        """``read`` begins transactions that change nothing."""
        self._engine = engine
        self._read = read
        self._now = now

    def facts(self, numbers: Iterable[int], declaration: str) -> dict[int, Fact]:
        """What is known of these units, by number."""
        sent_on = sa.exists().where(
            decisions.c.unit_id == units.c.id,
            decisions.c.revision == units.c.revision,
            decisions.c.reason == MOVED,
            decisions.c.choice == Choice.REDELIVER.value,
        )
        query = sa.select(
            units.c.id, units.c.changed_at, cohort_members.c.cohort, sent_on.label("sent_on")
        ).select_from(_with_notes(declaration))
        found: dict[int, Fact] = {}
        with self._read.begin() as connection:
            for part in chunked(list(numbers)):
                for row in connection.execute(query.where(units.c.id.in_(part))):
                    changed = None if row.changed_at is None else from_micros(row.changed_at)
                    found[row.id] = Fact(changed, row.cohort, bool(row.sent_on))
        return found

    def note(self, told: Mapping[int, str], declaration: str) -> None:
        """Write down in which cohort each of these units is now; empty: in none."""
        if not told:
            return
        rows = [
            {"unit_id": number, "cohort": name, "declaration": declaration, "noted_at": self._now()}
            for number, name in told.items()
        ]

        def whole(connection: sa.Connection) -> None:
            for part in chunked(list(told)):
                connection.execute(
                    sa.delete(cohort_members).where(cohort_members.c.unit_id.in_(part))
                )
            connection.execute(sa.insert(cohort_members), rows)

        self._engine.again(whole)

    def unnoted(
        self, stream: str, declaration: str, *, after_id: int = 0, limit: int = 500, live: bool
    ) -> list[int]:
        """The next units of which nothing is noted; ``live``: those that Medplum holds alone."""
        query = (
            sa.select(units.c.id)
            .select_from(_with_notes(declaration))
            .where(
                units.c.stream == stream,
                units.c.id > after_id,
                cohort_members.c.cohort.is_(None),
            )
        )
        if live:
            held = sa.exists().where(
                targets.c.unit_id == units.c.id,
                targets.c.fhir_id.is_not(None),
                targets.c.deleted.is_(False),
            )
            query = query.where(held)
        with self._read.begin() as connection:
            return list(connection.execute(query.order_by(units.c.id).limit(limit)).scalars())

    def reopen(self, stream: str, left_out: Mapping[str, str]) -> int:
        """Make units pending that were left out for a cohort which stands otherwise by now.

        ``left_out``: by the name of each cohort that nothing is delivered for the reason of it.
        """
        still = [
            sa.and_(units.c.reason == reason, units.c.field == name)
            for name, reason in left_out.items()
        ]
        due = sa.and_(
            units.c.stream == stream,
            units.c.state == State.SKIPPED.value,
            units.c.reason.in_(LEFT_OUT),
            sa.not_(sa.or_(sa.false(), *still)),
        )
        with self._read.begin() as connection:  # nearly always there are none: nothing is locked
            if connection.execute(sa.select(units.c.id).where(due).limit(1)).first() is None:
                return 0
        with self._engine.begin() as connection:
            return connection.execute(
                sa.update(units)
                .where(due)
                .values(state=State.PENDING.value, reason=None, field=None, awaiting=None)
            ).rowcount

    def balances(self, stream: str, declaration: str) -> dict[str | None, Balance]:
        """The units of a stream by cohort and state; under None those that nothing is noted of."""
        query = (
            sa.select(cohort_members.c.cohort, units.c.state, sa.func.count().label("n"))
            .select_from(_with_notes(declaration))
            .where(units.c.stream == stream)
            .group_by(cohort_members.c.cohort, units.c.state)
        )
        states: dict[str | None, dict[State, int]] = {}
        with self._read.begin() as connection:
            for row in connection.execute(query):
                made = states.setdefault(row.cohort, dict.fromkeys(State, 0))
                made[State(row.state)] = row.n
        return {name: Balance(sum(each.values()), each) for name, each in states.items()}

    def open_reasons(self, stream: str, declaration: str, cohort: str | None) -> Counter[str]:
        """How many of a cohort did not arrive and nobody accepted it, by reason.

        None: of those that nothing is noted of.
        """
        query = (
            sa.select(units.c.reason, sa.func.count().label("n"))
            .select_from(_with_notes(declaration))
            .where(
                units.c.stream == stream,
                units.c.state.in_((State.QUARANTINED.value, State.REJECTED.value)),
                units.c.reason.is_not(None),
                cohort_members.c.cohort.is_(None)
                if cohort is None
                else cohort_members.c.cohort == cohort,
                is_open(),
            )
            .group_by(units.c.reason)
        )
        with self._read.begin() as connection:
            return Counter({row.reason: row.n for row in connection.execute(query)})

    def untold(self, stream: str, declaration: str, *, but: str) -> int:
        """Units of which nothing is noted, but for those that are held for one reason."""
        query = (
            sa.select(sa.func.count())
            .select_from(_with_notes(declaration))
            .where(
                units.c.stream == stream,
                cohort_members.c.cohort.is_(None),
                sa.func.coalesce(units.c.reason, "") != but,
            )
        )
        with self._read.begin() as connection:
            return int(connection.execute(query).scalar_one())

    def numbers(self, stream: str, keys: Iterable[str]) -> dict[str, int]:
        """Units by key, as far as they are on account."""
        found: dict[str, int] = {}
        with self._read.begin() as connection:
            for part in chunked(list(keys)):
                query = sa.select(units.c.key, units.c.id).where(
                    units.c.stream == stream, units.c.key.in_(part)
                )
                found.update((row.key, row.id) for row in connection.execute(query))
        return found

    def left_out(self, stream: str) -> dict[tuple[str, str], int]:
        """How many rows are left out for the phase of their cohort, by reason and cohort."""
        query = (
            sa.select(units.c.reason, units.c.field, sa.func.count().label("n"))
            .where(
                units.c.stream == stream,
                units.c.state == State.SKIPPED.value,
                units.c.reason.in_(LEFT_OUT),
            )
            .group_by(units.c.reason, units.c.field)
            .order_by(units.c.reason, units.c.field)
        )
        with self._read.begin() as connection:
            return {(row.reason, row.field or ""): row.n for row in connection.execute(query)}


def _with_notes(declaration: str) -> sa.Join:
    return units.outerjoin(
        cohort_members,
        sa.and_(
            cohort_members.c.unit_id == units.c.id,
            cohort_members.c.declaration == declaration,
        ),
    )
