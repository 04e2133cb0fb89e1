"""Landing: a page of pulled rows becomes units, in the caller's transaction.

The rules, in order (design §1.1; issue of 2026-11: "an id that is missing or not unique"):

- a row without a usable key gets the key ``~<hash>``, so that the same row is the same unit again,
  and is quarantined with the reason the puller gave;
- two rows with one key and different content in one page, or in two pages of one run with the
  same change time, are a collision: both are kept and quarantined, neither is believed;
- a row older than the one landed (parallel backfill and incremental pull) changes nothing;
- changed content makes the unit pending again and raises its revision, whatever it was;
- a collision is believed settled only when the row's content changes: that one of the two is
  served again, alone, may be half a page's doing;
- unchanged content reopens the unit only when the pull asked for it: a window is pulled on purpose
  to have its rows looked at again, an incremental pull re-reads its lookback by necessity.

A tombstone keeps the row landed before it: the row is what names the resources to delete.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from migration_assets.manifest.payload import canonical, pack, row_hash
from migration_assets.manifest.records import Landed, LandingRow, State, chunked, to_micros
from migration_assets.manifest.schema import units

DUPLICATE_KEY = "duplicate-key"
UNUSABLE_KEY = "id-unusable"
_LANDING = 720_351  # our advisory locks' own number, apart from other applications'
_SKEW_MICROS = 15 * 60 * 1_000_000  # a source's clock may run that far ahead of ours
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


def land(
    connection: sa.Connection,
    stream: str,
    rows: Iterable[LandingRow],
    *,
    run_id: int,
    now: int,
    reopen: bool,
) -> Landed:
    """Land one page of ``stream``; returns the counts. ``now`` in microseconds."""
    candidates = _candidates(rows)
    _take_turns(connection, stream)
    stored = _stored(connection, stream, [each.key for each in candidates])
    inserts: list[dict[str, Any]] = []
    updates: list[dict[str, Any]] = []
    reopened: list[int] = []
    seen: list[int] = []
    stale = 0
    for each in candidates:
        known = stored.get(each.key)
        if known is None:
            inserts.append(_values(each) | {"stream": stream, "key": each.key})
        elif known.row_hash == each.hash and known.deleted == each.deleted:
            again = reopen and not each.problem and known.reason != DUPLICATE_KEY
            (reopened if again else seen).append(known.id)
        elif _older(each, known, now):
            stale += 1
        elif _collides(each, known, run_id):
            updates.append({"unit": known.id, "revision": known.revision} | _collided(known))
            inserts.extend(_second(connection, each, stream))
        else:
            updates.append(
                {"unit": known.id, "revision": known.revision + 1} | _update(each, known)
            )
    _write(connection, inserts, updates, run_id=run_id, now=now)
    _touch(connection, seen, run_id, state=None)
    _touch(connection, reopened, run_id, state=State.PENDING)
    return Landed(
        rows=len(candidates),
        new=len(inserts),
        changed=len(updates),
        same=len(reopened) + len(seen),
        stale=stale,
        quarantined=sum(each.problem is not None for each in candidates),
    )


def _take_turns(connection: sa.Connection, stream: str) -> None:
    """One landing of a stream at a time: a backfill and an incremental pull may meet.

    Both would find a key absent and insert it, and the second would fail. SQLite's writers take
    turns by themselves.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LANDING, _number(stream))))


def _number(stream: str) -> int:
    digest = hashlib.blake2b(stream.encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big", signed=True)


def unseen(connection: sa.Connection, stream: str, rows: Iterable[LandingRow]) -> int:
    """How many of ``rows`` would change the account: what a probe has to know, nothing written."""
    candidates = _candidates(rows)
    stored = _stored(connection, stream, [each.key for each in candidates])
    return sum(
        each.key not in stored
        or stored[each.key].row_hash != each.hash
        or stored[each.key].deleted != each.deleted
        for each in candidates
    )


def _candidates(rows: Iterable[LandingRow]) -> list[_Candidate]:
    """The page's rows with their keys settled; identical repeats of a row fall away."""
    by_key: dict[str, list[_Candidate]] = {}
    for each in rows:
        text = canonical(each.row)
        digest = row_hash(text)
        # PostgreSQL takes no NUL in a text; Medplum takes none in an identifier either.
        usable = each.key is not None and "\0" not in each.key
        key = str(each.key) if usable else _UNKEYED + digest.hex()
        problem = each.problem or (None if usable else UNUSABLE_KEY)
        changed = to_micros(each.changed_at) if each.changed_at is not None else None
        same_key = by_key.setdefault(key, [])
        if all(other.hash != digest for other in same_key):
            same_key.append(_Candidate(key, text, digest, changed, each.deleted, problem))
    settled: list[_Candidate] = []
    for key, same_key in by_key.items():
        if len(same_key) > 1:
            # The lowest hash keeps the plain key, so that a server that answers in another order
            # next time names the same units.
            same_key.sort(key=lambda each: each.hash)
            for other in same_key:
                other.problem = DUPLICATE_KEY
            for other in same_key[1:]:
                other.key = f"{key}{_UNKEYED}{other.hash.hex()[:12]}"
        settled.extend(same_key)
    return settled


def _stored(connection: sa.Connection, stream: str, keys: Sequence[str]) -> dict[str, Any]:
    columns = (
        units.c.id,
        units.c.key,
        units.c.row_hash,
        units.c.revision,
        units.c.changed_at,
        units.c.deleted,
        units.c.reason,
        units.c.seen_run,
    )
    found: dict[str, Any] = {}
    for part in chunked(keys):
        query = sa.select(*columns).where(units.c.stream == stream, units.c.key.in_(part))
        found.update((row.key, row) for row in connection.execute(query))
    return found


def _older(each: _Candidate, known: Any, now: int) -> bool:
    """Whether we hold a newer row; one dated in the future proves nothing once it is mended."""
    return (
        each.changed_at is not None
        and known.changed_at is not None
        and each.changed_at < known.changed_at <= now + _SKEW_MICROS
    )


def _collides(each: _Candidate, known: Any, run_id: int) -> bool:
    """Whether the key has other content that this run served, or that already collided with it.

    Of the same change time: nothing says which of the two is newer.
    """
    met = known.seen_run == run_id or known.reason == DUPLICATE_KEY
    return bool(met and known.changed_at == each.changed_at)


def _values(each: _Candidate) -> dict[str, Any]:
    state = State.QUARANTINED if each.problem else State.PENDING
    return {
        "state": state.value,
        "revision": 1,
        "row_hash": each.hash,
        "payload": pack(each.json),
        "changed_at": each.changed_at,
        "deleted": each.deleted,
        "reason": each.problem,
    }


def _update(each: _Candidate, known: Any) -> dict[str, Any]:
    values = _values(each)
    del values["revision"]
    if each.deleted and not known.deleted:
        values["payload"] = None  # keep what names the resources; see _write
    return values


def _collided(known: Any) -> dict[str, Any]:
    return {
        "state": State.QUARANTINED.value,
        "reason": DUPLICATE_KEY,
        "row_hash": known.row_hash,
        "payload": None,
        "changed_at": known.changed_at,
        "deleted": known.deleted,
    }


def _second(connection: sa.Connection, each: _Candidate, stream: str) -> list[dict[str, Any]]:
    """The other row of a collision across pages, under a key of its own, unless it has one."""
    key = f"{each.key}{_UNKEYED}{each.hash.hex()[:12]}"
    if _stored(connection, stream, [key]):
        return []
    each.problem = DUPLICATE_KEY
    return [_values(each) | {"stream": stream, "key": key}]


def _write(
    connection: sa.Connection,
    inserts: list[dict[str, Any]],
    updates: list[dict[str, Any]],
    *,
    run_id: int,
    now: int,
) -> None:
    if inserts:
        for values in inserts:
            values |= {"landed_at": now, "seen_run": run_id}
        connection.execute(sa.insert(units), inserts)
    changed: dict[str, Any] = {
        "state": sa.bindparam("state"),
        "revision": sa.bindparam("revision"),
        "row_hash": sa.bindparam("row_hash"),
        "payload": sa.func.coalesce(sa.bindparam("payload", type_=sa.LargeBinary), units.c.payload),
        "changed_at": sa.bindparam("changed_at"),
        "deleted": sa.bindparam("deleted"),
        "reason": sa.bindparam("reason"),
        "field": None,
        "awaiting": None,
        "landed_at": now,
        "seen_run": run_id,
    }
    if updates:
        connection.execute(
            sa.update(units).where(units.c.id == sa.bindparam("unit")).values(**changed), updates
        )


def _touch(connection: sa.Connection, ids: list[int], run_id: int, state: State | None) -> None:
    if not ids:
        return
    values: dict[str, Any] = {"seen_run": run_id}
    if state is not None:
        values |= {"state": state.value, "reason": None, "field": None, "awaiting": None}
    connection.execute(
        sa.update(units).where(units.c.id == sa.bindparam("unit")).values(**values),
        [{"unit": each} for each in ids],
    )
