"""Likenesses of units: which of them may be one person, and so wait for somebody to look.

Belongs here: the table and its questions. Does not belong here: what makes two patients alike
(``fhir.likeness``).
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

import sqlalchemy as sa

from migration_assets.manifest.dead_letters import Choice
from migration_assets.manifest.records import State, chunked
from migration_assets.manifest.schema import decisions, likenesses, targets, units
from migration_assets.manifest.sealing import BARE_BYTES, seals_of

PROBABLE_DUPLICATE = "probable-duplicate"
"""Reason of a unit that may be the same person as another; the field says by which rule."""

_SENT = "fhir/"  # streams of what services send as FHIR (``fhir.sent``)
_Transaction = Callable[[], AbstractContextManager[sa.Connection]]


@dataclass(frozen=True)
class Alike:
    """A pending unit that may be the person of another unit, by ``rule``."""

    unit_id: int
    revision: int
    rule: str


class Likenesses:
    """Who may be the same person as whom; each method is one transaction."""

    def __init__(self, write: _Transaction, read: _Transaction) -> None:
        self._write = write
        self._read = read

    def note(self, found: Mapping[int, Iterable[tuple[str, bytes]]]) -> None:
        """Replace what is known of some units by what was found, as (rule, print)."""
        with self._write() as connection:
            seals = seals_of(connection)
            rows = [
                {"unit_id": unit, "rule": rule, "print": seals.mask(print_)}
                for unit, alike in found.items()
                for rule, print_ in set(alike)
            ]
            mask_likenesses(connection)  # under two keys alike would not look alike
            for part in chunked(found):
                connection.execute(sa.delete(likenesses).where(likenesses.c.unit_id.in_(part)))
            if rows:
                connection.execute(sa.insert(likenesses), rows)

    def release(self, stream: str) -> int:
        """Make held units pending that are like no other any more; returns how many."""
        alone = sa.not_(_mate(units.c.id).exists())
        held = sa.and_(
            units.c.stream == stream,
            units.c.state == State.QUARANTINED.value,
            units.c.reason == PROBABLE_DUPLICATE,
        )
        with self._write() as connection:
            return connection.execute(
                sa.update(units)
                .where(held, alone)
                .values(state=State.PENDING.value, reason=None, field=None)
            ).rowcount

    def pending(self, stream: str, *, after_id: int = 0, limit: int = 500) -> list[Alike]:
        """The next pending units that are to be held, in landing order.

        A unit that Medplum holds already, or may, is none: to keep back its changes would make no
        record less. Nor one that a person sent on after it was held, as long as its row stays the
        same.
        """
        owned = sa.exists().where(targets.c.unit_id == units.c.id, targets.c.deleted.is_(False))
        rule = _mate(units.c.id).limit(1).scalar_subquery()
        query = (
            sa.select(units.c.id, units.c.revision, rule.label("rule"))
            .where(
                units.c.stream == stream,
                units.c.state == State.PENDING.value,
                units.c.id > after_id,
                units.c.deleted.is_(False),
                units.c.merged_into.is_(None),
                units.c.id.in_(sa.select(likenesses.c.unit_id)),
                _mate(units.c.id).exists(),
                sa.not_(owned),
                sa.not_(_sent_on()),
            )
            .order_by(units.c.id)
            .limit(limit)
        )
        with self._read() as connection:
            return [Alike(*row) for row in connection.execute(query)]

    def known(self, alike: Iterable[tuple[str, bytes]]) -> dict[tuple[str, bytes], set[int]]:
        """The units that stand for themselves and have these (rule, print)."""
        wanted = set(alike)
        found: dict[tuple[str, bytes], set[int]] = {}
        query = (
            sa.select(likenesses).join(units, units.c.id == likenesses.c.unit_id).where(_stands())
        )
        with self._read() as connection:
            seals = seals_of(connection)
            for part in chunked({seals.mask(print_) for _rule, print_ in wanted}):
                for row in connection.execute(query.where(likenesses.c.print.in_(part))):
                    name = (row.rule, seals.unmask(bytes(row.print)))
                    if name in wanted:
                        found.setdefault(name, set()).add(row.unit_id)
        return found

    def sent_on(self, ids: Iterable[int]) -> set[int]:
        """Those of some units that a person sent on after they were held."""
        found: set[int] = set()
        with self._read() as connection:
            for part in chunked(ids):
                query = sa.select(units.c.id).where(units.c.id.in_(part), _sent_on())
                found.update(connection.execute(query).scalars())
        return found


def mask_likenesses(connection: sa.Connection) -> int:
    """Mask with the newest key those that are not yet; returns how many: none, but after a change.

    Raises:
        Permanent: some are masked with a key that is not set.
    """
    seals = seals_of(connection)
    if seals.newest is None:
        last = connection.execute(sa.select(likenesses.c.print).limit(1)).scalar()
        seals.refuse_strange(last)
        return 0
    begins, ends = seals.newest, seals.newest + b"\xff" * BARE_BYTES
    stale = sa.or_(likenesses.c.print < begins, likenesses.c.print > ends)  # both by the index
    masked = 0
    while some := connection.execute(sa.select(likenesses.c.print).where(stale).limit(500)).all():
        olds = {bytes(row.print) for row in some}
        connection.execute(
            sa.update(likenesses)
            .where(likenesses.c.print == sa.bindparam("old", type_=sa.LargeBinary))
            .values(print=sa.bindparam("new", type_=sa.LargeBinary)),
            [{"old": each, "new": seals.mask(seals.unmask(each))} for each in olds],
        )
        masked += len(olds)
    return masked


def _sent_on() -> sa.ColumnElement[bool]:
    return sa.exists().where(
        decisions.c.unit_id == units.c.id,
        decisions.c.revision == units.c.revision,
        decisions.c.reason == PROBABLE_DUPLICATE,
        decisions.c.choice == Choice.REDELIVER.value,
    )


def _stands(unit: sa.FromClause = units) -> sa.ColumnElement[bool]:
    """Whether a unit stands for itself: not deleted, merged into another, or left out."""
    return sa.and_(
        unit.c.deleted.is_(False),
        unit.c.merged_into.is_(None),
        unit.c.state != State.SKIPPED.value,
    )


def _mate(unit: sa.ColumnElement[int]) -> sa.Select[tuple[str]]:
    """The rules by which a unit is like another that stands for itself.

    What a service sent of a record, and the record's own row, are one person and no likeness.
    """
    mine, others, other = likenesses.alias(), likenesses.alias(), units.alias()
    itself = units.alias()
    one_record = sa.exists().where(
        itself.c.id == mine.c.unit_id,
        itself.c.key == other.c.key,
        itself.c.stream != other.c.stream,
        sa.or_(itself.c.stream.startswith(_SENT), other.c.stream.startswith(_SENT)),
    )
    return (
        sa.select(mine.c.rule)
        .join(
            others,
            sa.and_(
                others.c.print == mine.c.print,
                others.c.rule == mine.c.rule,
                others.c.unit_id != mine.c.unit_id,
            ),
        )
        .join(other, other.c.id == others.c.unit_id)
        .where(mine.c.unit_id == unit, _stands(other), sa.not_(one_record))
        .order_by(mine.c.rule)
    )
