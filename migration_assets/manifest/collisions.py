"""Collisions: two rows with one key, and what a person decided about which of them counts.

Belongs here: the units that stand beside each other under one key, and handing over what they own
in Medplum. Does not belong here: finding collisions (``landing``), or who decides (``decisions``).

The first row keeps the key, the others stand beside it as ``key~<hash>``. Once one is believed the
others are skipped, and what any of them owns in Medplum is the believed one's. That holds for the
rows it was decided about, however often they are served again. A row that changes at the source
ends it: the key itself counts again, and takes over what was written.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from migration_assets.manifest.records import State
from migration_assets.manifest.schema import decisions, targets, units

DUPLICATE_KEY = "duplicate-key"
SUPERSEDED = "superseded-by-decision"
"""Reason of a unit that collided with one which a person believed."""

OUTDATED = "superseded-by-change"
"""Reason of a unit that was believed until the source changed the row."""

BESIDE = "~"
_HASH_DIGITS = 12
_BESIDE = re.compile(rf"(.+){BESIDE}[0-9a-f]{{{_HASH_DIGITS}}}", re.DOTALL)


def beside(key: str, row_hash: bytes) -> str:
    """The key of a row that stands beside another with its own key."""
    return f"{key}{BESIDE}{row_hash.hex()[:_HASH_DIGITS]}"


def plain_key(key: str) -> str:
    """The key that the source gave the row."""
    found = _BESIDE.fullmatch(key)
    return found[1] if found else key


def collided(known: Any) -> dict[str, Any]:
    """What a unit becomes that met another row of its key: held, with the row it has."""
    return {
        "state": State.QUARANTINED.value,
        "reason": DUPLICATE_KEY,
        "row_hash": known.row_hash,
        "payload": None,
        "changed_at": known.changed_at,
        "deleted": known.deleted,
        "archived": known.archived,
        "merged_into": known.merged_into,
    }


def colliding(connection: sa.Connection, stream: str, key: str) -> list[Any]:
    """All units under the key that the source gave this one, itself included."""
    plain = plain_key(key)
    query = sa.select(units.c.id, units.c.key, units.c.reason, units.c.deleted).where(
        units.c.stream == stream,
        sa.or_(units.c.key == plain, units.c.key.startswith(plain + BESIDE, autoescape=True)),
    )
    rows = connection.execute(query.order_by(units.c.id)).all()
    return [row for row in rows if plain_key(row.key) == plain]


def hand_over(connection: sa.Connection, givers: Sequence[int], taker: int) -> None:
    """Make what some units own in Medplum another's."""
    connection.execute(
        sa.update(targets).where(targets.c.unit_id.in_(givers)).values(unit_id=taker)
    )


def served_again(
    candidates: Iterable[Any],
    stored: Mapping[str, Any],
    look_up: Callable[[Sequence[str]], Mapping[str, Any]],
) -> dict[str, int]:
    """Rows on account under another key than they came with: each candidate's key and the unit.

    Which of two colliding rows stands beside the other depends on the order they came in. What was
    decided about them must not.
    """
    listed = list(candidates)
    beside_it = {
        each.key: beside(each.key, each.hash)
        for each in listed
        if (known := stored.get(each.key)) is not None
        and each.hash != known.row_hash
        and each.changed_at == known.changed_at
        and not each.deleted
    }
    if not beside_it:
        return {}
    found = look_up(list(beside_it.values()))
    again: dict[str, int] = {}
    for each in listed:
        other = found.get(beside_it.get(each.key, ""))
        if other is not None and _decided(each, stored[each.key], other):
            again[each.key] = other.id
    for each in listed:  # who stood first when they met, and comes second now
        plain = plain_key(each.key)
        if plain in again and each.key not in stored and each.hash == stored[plain].row_hash:
            again[each.key] = stored[plain].id
    return again


def meets_another(each: Any, known: Any, stored: Mapping[str, Any]) -> bool:
    """Whether a row that we have already comes beside another of its key, and nobody decided."""
    if each.problem != DUPLICATE_KEY or known.reason in (DUPLICATE_KEY, SUPERSEDED, OUTDATED):
        return False
    plain = plain_key(each.key)
    others = (row for key, row in stored.items() if plain_key(key) == plain)
    return all(row.reason != SUPERSEDED for row in others)


def _decided(each: Any, known: Any, other: Any) -> bool:
    return bool(
        SUPERSEDED in (known.reason, other.reason)
        and each.hash == other.row_hash
        and not other.deleted
    )


def take_back(connection: sa.Connection, unit: Any, *, now: int) -> None:
    """A superseded row changed at the source: it counts again, and who was believed no longer."""
    if plain_key(unit.key) != unit.key:
        return  # its key names the content it had
    believed = connection.execute(
        sa.select(decisions.c.believed)
        .where(decisions.c.unit_id == unit.id, decisions.c.believed.is_not(None))
        .order_by(decisions.c.id.desc())
        .limit(1)
    ).scalar()
    if believed is not None:
        hand_over(connection, [believed], unit.id)
        connection.execute(
            sa.update(units)
            .where(units.c.id == believed)
            .values(state=State.SKIPPED.value, reason=OUTDATED, field=None, awaiting=None)
            .values(settled_at=now)
        )


def step_down(connection: sa.Connection, gone: Sequence[int]) -> None:
    """Who was believed is gone from the source: the row that was not is all there is.

    Were there several, nothing says which, and they collide again.
    """
    believer = units.alias("believer")
    for believed in gone:
        query = sa.select(units.c.id).where(
            units.c.reason == SUPERSEDED,
            units.c.deleted.is_(False),
            units.c.id.in_(sa.select(decisions.c.unit_id).where(decisions.c.believed == believed)),
            sa.exists().where(believer.c.id == believed, believer.c.deleted.is_(True)),
        )
        left = list(connection.execute(query).scalars())
        alone = len(left) == 1
        if alone:
            hand_over(connection, [believed], left[0])
        connection.execute(
            sa.update(units)
            .where(units.c.id.in_(left))
            .values(
                state=(State.PENDING if alone else State.QUARANTINED).value,
                reason=None if alone else DUPLICATE_KEY,
            )
        )
