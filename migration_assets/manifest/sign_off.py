"""What the sign-off report reads of the account beyond what other rooms read already.

Belongs here: those queries, read only, in transactions of a page each. Does not belong here: what
is made of them (``signoff``).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
import sqlalchemy as sa

from migration_assets.manifest.dead_letters import KINDS, Choice
from migration_assets.manifest.outages import Database
from migration_assets.manifest.payload import unpack
from migration_assets.manifest.reconciliation_tables import delivered_references
from migration_assets.manifest.records import State, chunked, from_micros
from migration_assets.manifest.schema import attempts, decisions, ledgers, pauses, runs, units
from migration_assets.manifest.schema import targets as owned
from migration_assets.manifest.sealing import seals_of

_PAGE = 5_000
_HELD_PAGE = 1_000

Alike = tuple[str, str, str, str]
"""Stream, state, reason and field, by which exceptions are told apart."""


@dataclass(frozen=True)
class HeldRow:
    """A row that did not arrive, and why; ``PURGED`` stands for one that is not kept any more."""

    key: str
    row: Any
    state: State
    reason: str
    field: str


@dataclass(frozen=True)
class Said:
    """The last thing people said of some units of one kind: who, what, until when, how many."""

    owner: str | None
    choice: str | None
    approver: str | None
    due: str | None
    note: str | None
    count: int


@dataclass(frozen=True)
class RunOf:
    """One run and how many answers of Medplum it wrote down."""

    id: int
    label: str
    version: str
    started_at: datetime
    finished_at: datetime | None
    answers: int


@dataclass(frozen=True)
class PauseOf:
    """One time that a stream stood still; ``ended_at`` None: it still does."""

    stream: str
    at: datetime
    failed: int
    seen: int
    ended_at: datetime | None
    ended_by: str | None


class SignOffReads:
    """Reads for the report; each page is one transaction."""

    def __init__(self, read: Database) -> None:
        """``read`` is an engine for transactions that change nothing."""
        self._read = read

    def referring(self, resource_type: str) -> Iterator[list[tuple[int, list[str]]]]:
        """Delivered resources that refer to a type: their numbers, and the tokens they name."""
        start, after = f"{resource_type}|", -1
        table = delivered_references
        while True:
            query = (
                sa.select(table.c.target_id, table.c.named)
                .where(table.c.target_id > after, table.c.named.contains(f'"{start}'))
                .order_by(table.c.target_id)
                .limit(_PAGE)
            )
            with self._read.begin() as connection:
                page = connection.execute(query).all()
            yield [(row.target_id, _tokens(row.named, start)) for row in page]
            if len(page) < _PAGE:
                return
            after = page[-1].target_id

    def units_of(self, numbers: Iterable[int]) -> dict[int, tuple[str, int, str, str]]:
        """Resources by number: type, and the unit that owns each: number, stream, key."""
        found: dict[int, tuple[str, int, str, str]] = {}
        columns = (owned.c.id, owned.c.resource_type, owned.c.unit_id, units.c.stream, units.c.key)
        with self._read.begin() as connection:
            for part in chunked(map(str, numbers)):
                query = (
                    sa.select(*columns)
                    .select_from(owned.join(units, units.c.id == owned.c.unit_id))
                    .where(owned.c.id.in_([int(each) for each in part]))
                )
                for row in connection.execute(query):
                    found[row.id] = (row.resource_type, row.unit_id, row.stream, row.key)
        return found

    def held_rows(self, stream: str, *, reason: str | None = None) -> Iterator[list[HeldRow]]:
        """Rows of a stream that are quarantined or were refused, for one reason or any."""
        states = (State.QUARANTINED.value, State.REJECTED.value)
        where = [units.c.stream == stream, units.c.state.in_(states), units.c.reason.is_not(None)]
        if reason is not None:
            where.append(units.c.reason == reason)
        after = 0
        while True:
            query = (
                sa.select(
                    units.c.id, units.c.key, units.c.payload, units.c.state, units.c.reason,
                    units.c.field,
                )
                .where(*where, units.c.id > after)
                .order_by(units.c.id)
                .limit(_HELD_PAGE)
            )  # fmt: skip
            with self._read.begin() as connection:
                page = connection.execute(query).all()
                seals = seals_of(connection)
            yield [
                HeldRow(
                    row.key, unpack(row.payload, seals), State(row.state), row.reason,
                    row.field or "",
                )
                for row in page
            ]  # fmt: skip
            if len(page) < _HELD_PAGE:
                return
            after = page[-1].id

    def said(self, streams: Sequence[str]) -> dict[Alike, list[Said]]:
        """What people said of the units that did not arrive, most units first.

        Of each matter the newest counts; a choice counts only for the outcome it was made on.
        """
        last: dict[int, dict[str, Any]] = defaultdict(dict)
        kinds: dict[int, Alike] = {}
        query = (
            sa.select(
                decisions, units.c.stream, units.c.revision.label("now"),
                units.c.state.label("stands"), units.c.reason.label("why"),
                units.c.field.label("place"),
            )
            .join(units, units.c.id == decisions.c.unit_id)
            .where(units.c.stream.in_(streams), units.c.state.in_(KINDS))
            .order_by(decisions.c.id)
        )  # fmt: skip
        with self._read.begin() as connection:
            for row in connection.execute(query):
                kinds[row.unit_id] = (row.stream, row.stands, row.why or "", row.place or "")
                same = (row.revision, row.state, row.reason or "", row.field or "") == (
                    row.now, *kinds[row.unit_id][1:]
                )  # fmt: skip
                known = last[row.unit_id]
                known.update({n: row._mapping[n] for n in ("owner", "note") if row._mapping[n]})  # noqa: SLF001 - its public name
                if row.choice:
                    stale = row.choice == Choice.ACCEPT.value and not same
                    known.update(choice=None if stale else row.choice, approver=row.approver)
                    known["due"] = row.due
        counts: dict[Alike, Counter[tuple[Any, ...]]] = defaultdict(Counter)
        names = ("owner", "choice", "approver", "due", "note")
        for number, known in last.items():
            counts[kinds[number]][tuple(known.get(each) for each in names)] += 1
        return {
            alike: [_said(each, n) for each, n in found.most_common()]
            for alike, found in counts.items()
        }

    def latest_runs(self, limit: int) -> list[RunOf]:
        """The latest runs, newest first, those that wrote nothing too."""
        with self._read.begin() as connection:
            found = connection.execute(
                sa.select(runs).order_by(runs.c.id.desc()).limit(limit)
            ).all()
            wanted = attempts.c.run_id.in_([row.id for row in found])
            query = sa.select(attempts.c.run_id, sa.func.count().label("n")).where(wanted)
            answers = {
                row.run_id: row.n for row in connection.execute(query.group_by(attempts.c.run_id))
            }
        return [
            RunOf(
                row.id, row.label, row.pipeline_version, from_micros(row.started_at),
                None if row.finished_at is None else from_micros(row.finished_at),
                answers.get(row.id, 0),
            )
            for row in found
        ]  # fmt: skip

    def pauses(self, limit: int = 50) -> list[PauseOf]:
        """The latest times that streams stood still, newest first."""
        query = sa.select(pauses).order_by(pauses.c.id.desc()).limit(limit)
        with self._read.begin() as connection:
            return [
                PauseOf(
                    row.stream, from_micros(row.paused_at), row.failed, row.seen,
                    None if row.resumed_at is None else from_micros(row.resumed_at),
                    row.resumed_by,
                )
                for row in connection.execute(query)
            ]  # fmt: skip

    def ledgers(self) -> list[tuple[str, str, datetime]]:
        """The ledgers that processes share: name, text, and when each was written last."""
        with self._read.begin() as connection:
            found = connection.execute(sa.select(ledgers).order_by(ledgers.c.name)).all()
        return [(row.name, row.text, from_micros(row.written_at)) for row in found]


def _tokens(named: str, start: str) -> list[str]:
    return [token for _path, token in orjson.loads(named) if token.startswith(start)]


def _said(names: tuple[Any, ...], count: int) -> Said:
    owner, choice, approver, due, note = names
    return Said(owner, choice, approver, due, note, count)
