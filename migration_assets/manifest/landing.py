"""Landing: a page of pulled rows becomes units, in the caller's transaction.

The rules, in order (design §1.1; issue of 2026-11: "an id that is missing or not unique"):

- a row without a usable key gets the key ``~<hash>``, so that the same row is the same unit again,
  and is quarantined with the reason the puller gave;
- two rows with one key and different content in one page, or in two pages of one run with the
  same change time, are a collision: both are kept and quarantined, neither is believed;
- a row older than the one landed (parallel backfill and incremental pull) changes nothing, unless
  a sweep finds it so that began after the other was landed;
- changed content makes the unit pending again and raises its revision, whatever it was;
- a collision is believed settled only when the row's content changes, or a person decides: that
  one of the two is served again, alone, may be half a page's doing;
- unchanged content reopens the unit only when the pull asked for it: a window is pulled on purpose
  to have its rows looked at again, an incremental pull re-reads its lookback by necessity;
- a unit that was undone stays in quarantine whatever comes, with the newest content: a person took
  its write back, and a person releases it;
- a purged row that is served again is no other row, for its hash was kept; it is landed again where
  it is needed: the pull has it looked at again, or something keeps the unit from being final.

A tombstone keeps the row landed before it: the row is what names the resources to delete.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa

from migration_assets.manifest.collisions import (
    DUPLICATE_KEY,
    OUTDATED,
    SUPERSEDED,
    beside,
    collided,
    meets_another,
    served_again,
    take_back,
)
from migration_assets.manifest.in_bulk import insert_each, update_each
from migration_assets.manifest.payload import canonical, pack, row_hash, without
from migration_assets.manifest.precedence import collides, date_ends, older, outlived
from migration_assets.manifest.records import (
    Alongside,
    Landed,
    LandingRow,
    State,
    to_micros,
)
from migration_assets.manifest.schema import sweeps, units
from migration_assets.manifest.sealing import BARE_BYTES, Seals, seals_of
from migration_assets.manifest.stored_units import last_hash, put_back, row_again, stored_units

UNUSABLE_KEY = "id-unusable"
UNDONE = "undone"
"""Reason of a unit whose write a person took back: no pull releases it, only a decision does."""
PAYLOAD_PURGED = "payload-purged"
"""Reason of a unit that was to be mapped again after its row had been purged: pull its window."""
_FINAL = frozenset({State.MIGRATED, State.UNCHANGED, State.SKIPPED})
_NEVER_REOPENED = frozenset({DUPLICATE_KEY, SUPERSEDED, OUTDATED, UNDONE})
_LANDING = 720_351  # our advisory locks' own number, apart from other applications'
_MICROSECOND = timedelta(microseconds=1)
_UPDATED = (
    "state", "revision", "row_hash", "payload", "changed_at", "deleted", "archived",
    "merged_into", "reason",
)  # fmt: skip
_UNKEYED = "~"  # no legacy key seen starts with it; a collision of the two would quarantine both


@dataclass
class _Candidate:
    """One row on its way into the account."""

    key: str
    json: bytes
    hash: bytes
    changed_at: int | None
    deleted: bool
    problem: str | None
    archived: bool
    merged_into: str | None

    def stands_as(self, known: Any) -> bool:
        """Whether nothing about the row differs from what is on account."""
        return bool(
            self.hash == known.row_hash
            and self.deleted == known.deleted
            and self.archived == known.archived
            and self.merged_into == known.merged_into
        )


@dataclass(frozen=True)
class _Stamp:
    """When, and by which run and sweep, rows were seen."""

    now: int
    run_id: int
    sweep: int | None

    def seen(self) -> dict[str, Any]:
        """The columns that say so; whatever was seen is no longer missed."""
        values: dict[str, Any] = {"seen_run": self.run_id, "missed": 0}
        return values if self.sweep is None else values | {"seen_sweep": self.sweep}


def land(
    connection: sa.Connection,
    stream: str,
    rows: Iterable[LandingRow],
    *,
    run_id: int,
    now: int,
    reopen: bool,
    alongside: Alongside,
) -> Landed:
    """Land one page of ``stream``; returns the counts. ``now`` in microseconds."""
    stamp = _Stamp(now, run_id, alongside.sweep)
    slack, began = alongside.slack // _MICROSECOND, _began(connection, alongside.sweep)
    seals = seals_of(connection)
    candidates = _candidates(rows)
    by = None if alongside.events else run_id  # of events, the later is the newer
    take_turns(connection, stream)
    seals.refuse_strange(last_hash(connection))
    stored = stored_units(connection, stream, [each.key for each in candidates])
    date_ends(candidates, stored if alongside.events else {})
    decided = served_again(candidates, stored, partial(stored_units, connection, stream))
    inserts: list[dict[str, Any]] = []
    updates: list[dict[str, Any]] = []
    reopened: list[int] = []
    seen: list[int] = []
    stale: list[int] = []
    restored: list[dict[str, Any]] = []
    for each in candidates:
        known = stored.get(each.key)
        if each.key in decided:
            seen.append(decided[each.key])
        elif known is None:
            inserts.append(_values(each, seals) | {"stream": stream, "key": each.key})
        elif each.stands_as(known) and meets_another(each, known, stored):
            updates.append({"unit": known.id, "revision": known.revision} | collided(known))
            restored += row_again(each, known, seals)
        elif each.stands_as(known):
            wanted = reopen or known.reason == PAYLOAD_PURGED
            again = wanted and not each.problem and known.reason not in _NEVER_REOPENED
            if again or known.state not in _FINAL:
                restored += row_again(each, known, seals)
            (reopened if again else seen).append(known.id)
        elif older(each, known, now=now, slack=slack, began=began) or outlived(each, known, by):
            stale.append(known.id)
        elif collides(each, known, by):
            updates.append({"unit": known.id, "revision": known.revision} | collided(known))
            inserts.extend(_second(connection, each, stream, seals))
        else:
            if known.reason == SUPERSEDED:
                take_back(connection, known, now=now)
            updates.append(
                {"unit": known.id, "revision": known.revision + 1} | _update(each, known, seals)
            )
    _write(connection, inserts, updates, stamp)
    put_back(connection, restored)
    # An event that brought nothing new is no word of the source's.
    _touch(connection, [] if alongside.events else [*seen, *stale], stamp, state=None)
    _touch(connection, reopened, stamp, state=State.PENDING)
    return Landed(
        rows=len(candidates),
        new=len(inserts),
        changed=len(updates),
        same=len(reopened) + len(seen),
        stale=len(stale),
        quarantined=sum(each.problem is not None for each in candidates),
    )


def take_turns(connection: sa.Connection, stream: str) -> None:
    """One landing of a stream at a time: a backfill and an incremental pull may meet.

    Both would find a key absent and insert it, and the second would fail. A purge would drop a
    row that a landing has just found there. SQLite's writers take turns by themselves.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LANDING, _number(stream))))


def _number(stream: str) -> int:
    digest = hashlib.blake2b(stream.encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big", signed=True)


def unseen(connection: sa.Connection, stream: str, rows: Iterable[LandingRow]) -> int:
    """How many of ``rows`` would change the account: what a probe has to know, nothing written."""
    candidates = _candidates(rows)
    stored = stored_units(connection, stream, [each.key for each in candidates])
    return sum(
        each.key not in stored or not each.stands_as(stored[each.key]) for each in candidates
    )


def keys_of(rows: Iterable[LandingRow]) -> list[str]:
    """The keys under which rows land."""
    return [each.key for each in _candidates(rows)]


def standing(connection: sa.Connection, stream: str, rows: Iterable[LandingRow]) -> set[str]:
    """Keys of those of ``rows`` that are on account just as they are."""
    candidates = _candidates(rows)
    stored = stored_units(connection, stream, [each.key for each in candidates])
    return {
        each.key for each in candidates if each.key in stored and each.stands_as(stored[each.key])
    }


def _candidates(rows: Iterable[LandingRow]) -> list[_Candidate]:
    """The page's rows with their keys settled; identical repeats of a row fall away."""
    by_key: dict[str, list[_Candidate]] = {}
    for each in rows:
        text = canonical(each.row)
        # Volatile fields are kept, but do not tell one version of a row from another.
        told = canonical(without(each.row, each.volatile)) if each.volatile else text
        digest = row_hash(told)
        # PostgreSQL takes no NUL in a text; Medplum takes none in an identifier either.
        usable = each.key is not None and "\0" not in each.key
        key = str(each.key) if usable else _UNKEYED + digest.hex()
        problem = each.problem or (None if usable else UNUSABLE_KEY)
        changed = to_micros(each.changed_at) if each.changed_at is not None else None
        same_key = by_key.setdefault(key, [])
        if all(other.hash != digest for other in same_key):
            same_key.append(
                _Candidate(
                    key,
                    text,
                    digest,
                    changed,
                    each.deleted,
                    problem,
                    each.archived,
                    each.merged_into,
                )
            )
    settled: list[_Candidate] = []
    for key, same_key in by_key.items():
        if len(same_key) > 1:
            # The lowest hash keeps the plain key, so that a server that answers in another order
            # next time names the same units.
            same_key.sort(key=lambda each: each.hash)
            for other in same_key:
                other.problem = DUPLICATE_KEY
            for other in same_key[1:]:
                other.key = beside(key, other.hash)
        settled.extend(same_key)
    return settled


def _began(connection: sa.Connection, sweep: int | None) -> int | None:
    if sweep is None:
        return None
    return int(
        connection.execute(sa.select(sweeps.c.started_at).where(sweeps.c.id == sweep)).scalar_one()
    )


def _values(each: _Candidate, seals: Seals) -> dict[str, Any]:
    state = State.QUARANTINED if each.problem else State.PENDING
    return {
        "state": state.value,
        "revision": 1,
        "row_hash": seals.mask(each.hash),
        "payload": pack(each.json, seals),
        "changed_at": each.changed_at,
        "deleted": each.deleted,
        "archived": each.archived,
        "merged_into": each.merged_into,
        "reason": each.problem,
    }


def _update(each: _Candidate, known: Any, seals: Seals) -> dict[str, Any]:
    values = _values(each, seals)
    del values["revision"]
    if each.deleted:
        values["payload"] = None  # keep the last living row, which names the resources; see _write
    if known.reason == UNDONE and not each.problem:
        values |= {"state": State.QUARANTINED.value, "reason": UNDONE}
    return values


def _second(
    connection: sa.Connection, each: _Candidate, stream: str, seals: Seals
) -> list[dict[str, Any]]:
    """The other row of a collision across pages, under a key of its own, unless it has one."""
    key = beside(each.key, each.hash)
    if stored_units(connection, stream, [key]):
        return []
    each.problem = DUPLICATE_KEY
    return [_values(each, seals) | {"stream": stream, "key": key}]


def _write(
    connection: sa.Connection,
    inserts: list[dict[str, Any]],
    updates: list[dict[str, Any]],
    stamp: _Stamp,
) -> None:
    seen = stamp.seen()
    for values in inserts:
        values |= {"landed_at": stamp.now, **seen}
    insert_each(connection, units, inserts)
    seals = seals_of(connection)
    for values in updates:
        if len(values["row_hash"]) == BARE_BYTES:  # of a unit that collided: as it was compared
            values["row_hash"] = seals.mask(values["row_hash"])
    update_each(
        connection,
        updates,
        {"unit": units.c.id.type} | {name: units.c[name].type for name in _UPDATED},
        lambda given: (
            sa.update(units)
            .where(units.c.id == given("unit"))
            .values(
                {name: given(name) for name in _UPDATED if name != "payload"}
                | {"payload": sa.func.coalesce(given("payload"), units.c.payload)}
                | {"field": None, "awaiting": None, "landed_at": stamp.now, **seen}
            )
        ),
    )


def _touch(connection: sa.Connection, ids: list[int], stamp: _Stamp, state: State | None) -> None:
    if not ids:
        return
    values: dict[str, Any] = stamp.seen()
    if state is not None:
        values |= {"state": state.value, "reason": None, "field": None, "awaiting": None}
    update_each(
        connection,
        [{"unit": each} for each in ids],
        {"unit": units.c.id.type},
        lambda given: sa.update(units).where(units.c.id == given("unit")).values(**values),
    )
