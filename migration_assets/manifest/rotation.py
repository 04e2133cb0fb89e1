"""Rotation: everything on account sealed anew with the newest key, batch by batch.

Belongs here: finding what is not under that key, and writing it again. Does not belong here: how
bytes are sealed (``sealing``), or the order of batches (``migration seal``).

Each batch is a transaction, and what is done shows in the bytes themselves: a rotation that was
cut off is simply begun again. Rows that somebody is writing are passed by, and met on the next
round.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from migration_assets.errors import Permanent
from migration_assets.manifest.bot_answers import forget_old_seals
from migration_assets.manifest.custody import SEALED, Custody, add_to, empty_the_log
from migration_assets.manifest.inbox_tables import inbox_events
from migration_assets.manifest.likenesses import mask_likenesses
from migration_assets.manifest.outages import Database
from migration_assets.manifest.schema import targets, units
from migration_assets.manifest.sealing import MARK_BYTES, SETTING, Seals, seals_of

BATCH = 500


@dataclass(frozen=True)
class Standing:
    """How the payloads stand: by the name of the key that sealed them, unsealed, and purged."""

    by_key: dict[str, int]
    open: int
    purged: int


class Rotation:
    """Seals what is on account; each method is one transaction."""

    def __init__(self, write: Database, read: Database) -> None:
        self._write = write
        self._read = read

    def standing(self) -> Standing:
        """How many payloads are sealed with which key; reads the whole account."""
        sealed = sa.case(
            (sa.func.length(units.c.payload) == 0, "purged"),
            (sa.func.substr(units.c.payload, 1, 1) == b"\x01", "sealed"),
            else_="open",
        )
        mark = sa.case((sealed == "sealed", sa.func.substr(units.c.payload, 1, MARK_BYTES)))
        query = sa.select(sealed.label("how"), mark.label("mark"), sa.func.count().label("n"))
        with self._read.begin() as connection:
            found = connection.execute(query.group_by(sa.text("1"), sa.text("2"))).all()
        by_key = {bytes(row.mark)[1:].hex(): int(row.n) for row in found if row.how == "sealed"}
        counts = {row.how: int(row.n) for row in found if row.how != "sealed"}
        return Standing(by_key, counts.get("open", 0), counts.get("purged", 0))

    def newest_key(self) -> str:
        """The name of the key that everything is to be sealed with.

        Raises:
            Permanent: no key is set.
        """
        with self._read.begin() as connection:
            seals = seals_of(connection)
        if seals.newest is None:
            raise Permanent(
                f"Nothing was sealed: {SETTING} is not set. `migration seal --new-key` makes one; "
                "keep it where the database's backups are not. Without it the rows are lost."
            )
        return seals.names[0]

    def rows(self, record: int, *, after_id: int = 0) -> tuple[int, int] | None:
        """Seal the next batch of rows: the last unit's number and how many; None at the end.

        Raises:
            Permanent: some are sealed with a key that is not set; what came before is done.
        """
        with self._write.begin() as connection:
            seals = seals_of(connection)
            found = _locked(connection, _rows_due(seals, after_id))
            changes: list[dict[str, Any]] = [
                {
                    "unit": row.id,
                    "new_hash": seals.mask(seals.unmask(row.row_hash)),
                    "new_payload": seals.seal(seals.unseal(row.payload)),
                }
                for row in found
            ]
            if changes:
                connection.execute(
                    sa.update(units)
                    .where(units.c.id == sa.bindparam("unit"))
                    .values(
                        row_hash=sa.bindparam("new_hash", type_=sa.LargeBinary),
                        payload=sa.bindparam("new_payload", type_=sa.LargeBinary),
                    ),
                    changes,
                )
                size = sum(len(each["new_payload"]) for each in changes)
                add_to(connection, record, rows=len(changes), size=size)
        return (found[-1].id, len(changes)) if changes else None

    def prints(self, *, after_id: int = 0) -> tuple[int, int] | None:
        """Mask the next prints: the last target's number and how many; None at the end."""
        with self._write.begin() as connection:
            seals = seals_of(connection)
            found = _locked(connection, _prints_due(seals, after_id))
            changes = [
                {"target": row.id, "new_print": new_print, "new_sent": new_sent}
                for row in found
                for new_print, new_sent in [_masked(row, seals)]
                if (new_print, new_sent) != (row.fingerprint, row.sent)
            ]
            if changes:
                connection.execute(
                    sa.update(targets)
                    .where(targets.c.id == sa.bindparam("target"))
                    .values(
                        fingerprint=sa.bindparam("new_print", type_=sa.Text),
                        sent=sa.bindparam("new_sent", type_=sa.Text),
                    ),
                    changes,
                )
        return (found[-1].id, len(changes)) if found else None

    def likenesses(self) -> int:
        """Mask what may-be duplicates have in common, all at once: halves would not meet."""
        with self._write.begin() as connection:
            return mask_likenesses(connection)

    def events(self, *, after_id: int = 0) -> tuple[int, int] | None:
        """Mask what the next events held: the last one's number and how many; None at the end."""
        with self._write.begin() as connection:
            seals = seals_of(connection)
            stale = sa.func.substr(inbox_events.c.print, 1, MARK_BYTES) != seals.newest
            query = (
                sa.select(inbox_events.c.id, inbox_events.c.print)
                .where(inbox_events.c.id > after_id, stale)
                .order_by(inbox_events.c.id)
                .limit(BATCH)
            )
            found = _locked(connection, query)
            if found:
                connection.execute(
                    sa.update(inbox_events)
                    .where(inbox_events.c.id == sa.bindparam("event_id"))
                    .values(print=sa.bindparam("masked", type_=sa.LargeBinary)),
                    [
                        {"event_id": row.id, "masked": seals.mask(seals.unmask(bytes(row.print)))}
                        for row in found
                    ],
                )
        return (found[-1].id, len(found)) if found else None

    def finish(self) -> None:
        """Let go what Bots answered; and see to it that nothing of before is left in the log."""
        with self._write.begin() as connection:
            forget_old_seals(connection)
        empty_the_log(self._write.engine)


def rotate(
    rotation: Rotation, custody: Custody, *, by: str, told: Callable[[int], None]
) -> tuple[int, int]:
    """Seal everything with the newest key; returns how many rows and prints were written anew.

    ``told`` hears how many rows each batch held.

    Raises:
        Permanent: no key is set, or one of those in use is not.
    """
    record = custody.begin(SEALED, rotation.newest_key(), by)
    rows, prints = 0, rotation.likenesses()
    again = True
    while again:  # until a round finds nothing: rows may land under an older key meanwhile
        again, last = False, 0
        while (batch := rotation.rows(record, after_id=last)) is not None:
            last, number = batch
            rows, again = rows + number, True
            told(number)
    for masking in (rotation.prints, rotation.events):
        last = 0
        while (batch := masking(after_id=last)) is not None:
            last, number = batch
            prints += number
    rotation.finish()
    custody.finish(record)
    return rows, prints


def _rows_due(seals: Seals, after_id: int) -> sa.Select[Any]:
    newest = seals.newest
    stale_payload = sa.and_(
        sa.func.length(units.c.payload) > 0,
        sa.func.substr(units.c.payload, 1, MARK_BYTES) != newest,
    )
    stale_hash = sa.func.substr(units.c.row_hash, 1, MARK_BYTES) != newest
    return (
        sa.select(units.c.id, units.c.row_hash, units.c.payload)
        .where(units.c.id > after_id, sa.or_(stale_hash, stale_payload))
        .order_by(units.c.id)
        .limit(BATCH)
    )


def _prints_due(seals: Seals, after_id: int) -> sa.Select[Any]:
    named = f"{seals.names[0]}:%"
    stale = sa.or_(sa.not_(targets.c.fingerprint.like(named)), targets.c.sent.is_not(None))
    return (
        sa.select(targets.c.id, targets.c.fingerprint, targets.c.sent)
        .where(targets.c.id > after_id, stale)
        .order_by(targets.c.id)
        .limit(BATCH)
    )


def _locked(connection: sa.Connection, query: sa.Select[Any]) -> list[Any]:
    """What nobody else is writing (SQLite's writers take turns anyway)."""
    return list(connection.execute(query.with_for_update(skip_locked=True)).all())


def _masked(row: Any, seals: Seals) -> tuple[str | None, str | None]:
    def anew(stored: str | None) -> str | None:
        return seals.mask_print(seals.unmask_print(stored))

    sent = row.sent
    if sent is not None:
        sent = "".join(f" {anew(each)}" for each in sent.split())
    return anew(row.fingerprint), sent
