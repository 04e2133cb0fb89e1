"""What stands out about a field or a stream, as short sentences a person reads first.

Belongs here: which facts are worth a sentence, and how grave they are. Does not belong here:
counting them. A sentence holds counts and names, never a value.
"""

from collections.abc import Iterator
from typing import NamedTuple

from migration_assets.profiling.disclosure import LEAST
from migration_assets.profiling.field import FieldProfile
from migration_assets.profiling.stream import StreamProfile

_HARMLESS = {"not in normal form C"}


class Remark(NamedTuple):
    """A sentence; ``grave`` if a mapping that knows nothing of it would go wrong."""

    grave: bool
    told: str


def _grave(told: str) -> Remark:
    return Remark(grave=True, told=told)


def _fact(told: str) -> Remark:
    return Remark(grave=False, told=told)


def stream_remarks(profile: StreamProfile) -> list[Remark]:
    """What stands out about the stream as a whole."""
    found = []
    for grave, count, told in (
        (True, profile.not_objects, "no object at all"),
        (True, profile.keyless, "no usable key"),
        (True, profile.duplicate_keys, "a key that a different row has too"),
        (False, profile.deleted, "deleted at the source, not looked at"),
    ):
        if count:
            found.append(Remark(grave, f"{_rows(count)}: {told}"))
    if profile.undated and profile.months:
        found.append(_grave(f"{_rows(profile.undated)}: no readable change time"))
    for path, names in profile.hidden.items():
        place = path or "the row"
        found.append(_fact(f"{place} has {names:,} names, which look like data: not shown"))
    if profile.untold:
        found.append(_fact(f"{profile.untold:,} values of further fields are not told"))
    return found


def field_remarks(profile: StreamProfile, field: FieldProfile) -> list[Remark]:
    """What stands out about one field, the grave first."""
    found = [
        *_of_the_kind(field),
        *_of_references(profile, field),
        *_of_dates(field),
        *_of_texts(field),
        *_of_absence(field),
    ]
    if field.path == profile.key_field:
        found.insert(0, _fact("the key"))
    elif field.is_unique and profile.rows >= LEAST:
        told = "no value twice" if field.distinct_exact else "no value seen twice"
        found.append(_fact(told))
    return sorted(found, key=lambda each: not each.grave)


def _of_the_kind(field: FieldProfile) -> Iterator[Remark]:
    kinds = [kind for kind in field.kinds if kind != "null"]
    if set(kinds) == {"integer", "number"}:
        return
    if len(kinds) > 1:
        yield _grave("mixed types: " + ", ".join(f"{field.kinds[k]:,} {k}" for k in kinds))


def _of_references(profile: StreamProfile, field: FieldProfile) -> Iterator[Remark]:
    for each in profile.references:
        if each.path != field.path:
            continue
        if each.dangling:
            told = f"{each.dangling:,} of {each.values:,} are no key of {each.stream}"
            yield _grave(told)
        else:
            yield _fact(f"→ {each.stream}")
        if each.to_deleted:
            yield _grave(f"{each.to_deleted:,} to deleted {each.stream}")


def _of_dates(field: FieldProfile) -> Iterator[Remark]:
    dates = field.dates
    if dates is None:
        return
    zoneless = dates.zones.get("none", 0)
    either = dates.order.get("either", 0)
    for count, told in (
        (dates.impossible, "impossible dates"),
        (dates.unreadable, "no date at all"),
        (either, "either month or day first"),
    ):
        if count:
            yield _grave(f"{count:,} {told}")
    if zoneless:
        times = sum(dates.zones.values())
        yield _grave(f"{zoneless:,} of {times:,} times without a zone")
    if len(dates.forms) > 1:
        yield _fact(f"{len(dates.forms)} forms of date")


def _of_texts(field: FieldProfile) -> Iterator[Remark]:
    for flaw, count in field.flaws.items():
        yield Remark(flaw not in _HARMLESS, f"{count:,} x {flaw}")
    if field.numerals and field.numerals == field.kinds.get("text", 0) and field.dates is None:
        yield _fact("numbers written as text")


def _of_absence(field: FieldProfile) -> Iterator[Remark]:
    if field.present and field.filled == 0:
        yield _grave("never says anything")
    for name, count in list(field.sentinels.items())[:3]:
        yield _grave(f"{count:,} x “{name}”")
    for name, count in list(field.doubtful.items())[:2]:
        yield _fact(f"{count:,} x “{name}”")
    if field.blanks:
        yield _fact(f"{field.blanks:,} blank")


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"
