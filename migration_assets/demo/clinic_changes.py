"""A clinic at work: a seeded set of updates, inserts and deletes, as its staff would make them.

Belongs here: what changes, chosen by the seed alone; the same seed on the same clinic changes the
same rows in the same way. Does not belong here: HTTP, or how a row is stored.

Only sound rows change, and only rows that nothing refers to are deleted: whoever follows the
changes must end up with a clinic as sound as before.
"""

from collections.abc import Callable
from datetime import datetime
from random import Random
from typing import Any, NamedTuple, TypeAlias

from migration_assets.demo.clinic_store import ClinicStore, milliseconds
from migration_assets.demo.guide_rows import is_guide_key
from migration_assets.demo.nasty_rows import is_nasty_key
from migration_assets.demo.patient_rows import encounter, patient
from migration_assets.errors import Permanent

_TRIES = 200
"""Looks for a row that may change, before saying that the clinic has too few."""


_Chosen: TypeAlias = tuple[str, str, dict[str, Any]]  # stream, key, row


class Changed(NamedTuple):
    """What was done: [stream, key] of each row, by kind."""

    updated: list[tuple[str, str]]
    inserted: list[tuple[str, str]]
    deleted: list[tuple[str, str]]
    erased: list[tuple[str, str]]


def _new_phone(row: dict[str, Any], random: Random) -> None:
    row["phone"] = f"+1-555-{random.randrange(10_000):04}"


def _addendum(row: dict[str, Any], random: Random) -> None:
    row["note"] = f"{row.get('note') or 'No note.'} Addendum {random.randrange(1_000)}."


def _dose(row: dict[str, Any], random: Random) -> None:
    row["dose_text"] = f"1 tablet every {random.randrange(2, 24)} hours"


def _conclusion(row: dict[str, Any], random: Random) -> None:
    row["conclusion"] = f"Reviewed again, batch {random.randrange(1_000)}."


_UPDATES: dict[str, Callable[[dict[str, Any], Random], None]] = {
    "patients": _new_phone,
    "encounters": _addendum,
    "prescriptions": _dose,
    "diagnostic_reports": _conclusion,
}
_DELETED_FROM = ("prescriptions", "diagnostic_reports")  # nothing refers to these


def change(
    store: ClinicStore,
    *,
    seed: int,
    updates: int,
    inserts: int,
    deletes: int,
    now: datetime,
    erasures: int = 0,
) -> Changed:
    """Make so many changes, dated ``now``, and say which; every key occurs once.

    A deleted row leaves a tombstone, an erased one leaves nothing: only a sweep finds that.

    Raises:
        Permanent: the clinic is too small for that many.
    """
    random = Random(f"change {seed}")  # noqa: S311 - invented data, to be the same again
    taken: set[tuple[str, str]] = set()
    # All is chosen before anything is written: what cannot be done is not half done.
    updated = [_pick(store, random, tuple(_UPDATES), taken) for _ in range(updates)]
    deleted = [_pick(store, random, _DELETED_FROM, taken) for _ in range(deletes)]
    erased = [_pick(store, random, _DELETED_FROM, taken) for _ in range(erasures)]
    inserted = [_new(store, random, number, now) for number in range(inserts)]
    for stream, key, row in updated:
        _UPDATES[stream](row, random)
        store.put(stream, key, row, now=now)
    for stream, key, _row in deleted:
        store.delete(stream, key, now=now)
    for stream, key, _row in erased:
        store.erase(stream, key)
    for stream, key, row in inserted:
        store.put(stream, key, row, now=now)
    kinds = (updated, inserted, deleted, erased)
    return Changed(*([(stream, key) for stream, key, _ in kind] for kind in kinds))


def _pick(
    store: ClinicStore, random: Random, streams: tuple[str, ...], taken: set[tuple[str, str]]
) -> _Chosen:
    """A sound, living row that was not picked before."""
    for _ in range(_TRIES):
        stream = random.choice(streams)
        found = store.living_near(stream, random.random())
        if found is None:
            continue
        key, row = found
        if (stream, key) in taken or is_nasty_key(key) or is_guide_key(key):
            continue
        taken.add((stream, key))
        return stream, key, row
    raise Permanent("The clinic has too few rows for that many changes: found a bigger one.")


def _new(store: ClinicStore, random: Random, number: int, now: datetime) -> _Chosen:
    """A new patient, or a visit of one who is there, in turn."""
    name = f"{random.getrandbits(48):015}"
    if number % 2:
        patient_id = _pick(store, random, ("patients",), set())[1]
        visit = encounter(random, f"EN{name}", patient_id, milliseconds(now))
        return "encounters", visit["encounter_id"], visit
    person = patient(random, f"PN{name}", milliseconds(now))
    return "patients", person["patient_id"], person
