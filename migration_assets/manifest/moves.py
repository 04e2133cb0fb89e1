"""Resources that are in Medplum under another id than the one others were linked to.

Belongs here: which those are, and whose links are to be made again. Does not belong here: who
refers to them, which only the mappings tell (``relinking``).

A reference goes out as ``Type/id``. The id is not ours to choose: what somebody else wrote may be
deleted by them, and come as ours under another; what we deleted may come back as theirs. Then a
link leads nowhere, although row, fingerprint and target say that nothing changed.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

import sqlalchemy as sa

from migration_assets.manifest.ownership import insert_into
from migration_assets.manifest.records import Settlement, State, chunked
from migration_assets.manifest.schema import borrowed, moved, targets, units

_Transaction = Callable[[], AbstractContextManager[sa.Connection]]


def note_borrowed(connection: sa.Connection, settlements: Iterable[Settlement]) -> None:
    """Keep under which ids Medplum held what nobody on account owned when others referred to it."""
    rows = {each for settlement in settlements for each in settlement.borrowed}
    if rows:
        insert = insert_into(connection, borrowed).on_conflict_do_nothing()
        connection.execute(insert, [{"token": name, "fhir_id": id_} for name, id_ in sorted(rows)])


class Moves:
    """What moved, and who was told; each method is one transaction."""

    def __init__(self, write: _Transaction, read: _Transaction) -> None:
        self._write = write
        self._read = read

    def note(self) -> None:
        """Have every stream told of what moved since this was asked last."""
        with self._read() as connection:
            if not any(connection.execute(query.limit(1)).first() for query in _moved()):
                return
        with self._write() as connection:
            names = {row.token for query in _moved() for row in connection.execute(query)}
            streams = list(connection.execute(sa.select(units.c.stream).distinct()).scalars())
            rows = [{"stream": each, "token": name} for each in streams for name in sorted(names)]
            if not rows:
                return
            connection.execute(insert_into(connection, moved).on_conflict_do_nothing(), rows)
            for part in chunked(names):
                connection.execute(sa.delete(borrowed).where(borrowed.c.token.in_(part)))
                connection.execute(
                    sa.update(targets).where(targets.c.token.in_(part)).values(former_id=None)
                )

    def untold(self, stream: str) -> list[str]:
        """Tokens of what moved since the units of ``stream`` were linked to it."""
        with self._read() as connection:
            query = sa.select(moved.c.token).where(moved.c.stream == stream)
            return list(connection.execute(query).scalars())

    def told(self, stream: str, tokens: Iterable[str], linked: Iterable[int]) -> None:
        """These units refer to them: their resources are to be written again, whole."""
        ids = list(linked)
        with self._write() as connection:
            for start in range(0, len(ids), 500):
                part = ids[start : start + 500]
                connection.execute(
                    sa.update(targets).where(targets.c.unit_id.in_(part)).values(fingerprint=None)
                )
                written = (State.MIGRATED.value, State.UNCHANGED.value)
                connection.execute(
                    sa.update(units)
                    .where(units.c.id.in_(part), units.c.state.in_(written))
                    .values(state=State.PENDING.value, reason=None, field=None, awaiting=None)
                )
            for some in chunked(tokens):
                connection.execute(
                    sa.delete(moved).where(moved.c.stream == stream, moved.c.token.in_(some))
                )


def _moved() -> tuple[sa.Select[tuple[str]], ...]:
    """Those that others were linked to when they were not ours; and ours that had another id."""
    here = sa.and_(targets.c.fhir_id.is_not(None), targets.c.deleted.is_(False))
    return (
        sa.select(targets.c.token)
        .join(borrowed, borrowed.c.token == targets.c.token)
        .where(here, borrowed.c.fhir_id != targets.c.fhir_id),
        sa.select(targets.c.token).where(
            here, targets.c.former_id.is_not(None), targets.c.former_id != targets.c.fhir_id
        ),
    )
