"""What Bots answered of units' rows: the last answer of each, for a row as it was and a version.

Belongs here: keeping them, finding them again, and letting them go. Does not belong here: asking a
Bot, or what its answer means (``steps``).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import sqlalchemy as sa

from migration_assets.manifest.bot_answer_tables import bot_answers
from migration_assets.manifest.in_bulk import insert_each
from migration_assets.manifest.outages import Database
from migration_assets.manifest.payload import canonical, pack, row_hash, unpack
from migration_assets.manifest.records import chunked
from migration_assets.manifest.sealing import MARK_BYTES, Seals, seals_of


class BotAnswers:
    """Keeps answers by unit; each method is one transaction."""

    def __init__(
        self, write: Database, read: Callable[[], AbstractContextManager[sa.Connection]]
    ) -> None:
        self._write = write
        self._reading = read

    def remembered(
        self, rows: Iterable[tuple[int, Any]], version: str | None = None
    ) -> dict[int, Any]:
        """What was answered of these units' rows, as far as they are still the same rows.

        ``version``: by that version of the Bot only.
        """
        asked = dict(rows)
        found: dict[int, Any] = {}
        with self._reading() as connection:
            seals = seals_of(connection)
            for part in chunked(asked):
                query = sa.select(bot_answers).where(bot_answers.c.unit_id.in_(part))
                if version is not None:
                    query = query.where(bot_answers.c.version == version)
                for row in connection.execute(query):
                    kept = unpack(row.answer, seals)
                    if kept["row"] == row_print(asked[row.unit_id]):
                        found[row.unit_id] = kept["answer"]
        return found

    def remember(self, version: str, answers: Mapping[int, tuple[Any, Any]]) -> None:
        """Keep, by unit, a row and what a version of the Bot said of it; the last one counts."""
        if not answers:
            return

        def kept(connection: sa.Connection) -> None:
            seals = seals_of(connection)
            forget_answers(connection, list(answers))
            insert_each(
                connection,
                bot_answers,
                [
                    {"unit_id": unit, "version": version, "answer": _packed(row, answer, seals)}
                    for unit, (row, answer) in answers.items()
                ],
            )

        self._write.again(kept)


def row_print(row: Any) -> str:
    """The hash by which a row is known to be the same."""
    return row_hash(canonical(row)).hex()


def _packed(row: Any, answer: Any, seals: Seals) -> bytes:
    return pack(canonical({"row": row_print(row), "answer": answer}), seals)


def forget_answers(connection: sa.Connection, units: Sequence[int]) -> None:
    """Let go what was answered of units whose rows go."""
    for part in chunked(units):
        connection.execute(sa.delete(bot_answers).where(bot_answers.c.unit_id.in_(part)))


def forget_old_seals(connection: sa.Connection) -> None:
    """Let go what the newest key did not seal: the Bot can be asked again."""
    newest = seals_of(connection).newest
    stale = sa.func.substr(bot_answers.c.answer, 1, MARK_BYTES) != newest
    connection.execute(sa.delete(bot_answers).where(stale))
