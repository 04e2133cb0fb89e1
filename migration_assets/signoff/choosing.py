"""Which patients people look at: the same ones each time, some by lot, and those at risk.

Belongs here: choosing, from one pass over the patients' rows. Does not belong here: what is shown
of them (``charts``). The guide asks for all three: a sample that is repeated shows what changed, a
random one what nobody thought of, and one by risk looks where migrations go wrong.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from migration_assets.manifest import Content, Manifest
from migration_assets.mapping import Mapping as MappingOf
from migration_assets.profiling.evidence import traces
from migration_assets.profiling.places import ABSENT, is_populated, value_at
from migration_assets.profiling.population import populated_paths
from migration_assets.reconciliation.findings import Checked
from migration_assets.signoff.words import reason_told

REPEATABLE = -1
"""The lot of the repeatable sample: no seed that a person gives draws it."""

Way: TypeAlias = Literal["repeatable", "random", "risk"]
_YEAR = 4


@dataclass(frozen=True)
class Chosen:
    """A patient by its key; ``why`` are sentences without a value of the row."""

    way: Way
    key: str
    why: tuple[str, ...]


def choose(
    manifest: Manifest,
    patients: MappingOf[Any],
    *,
    seed: int,
    of_each: int,
    related: Mapping[str, int],
) -> list[Chosen]:
    """So many patients of each way, none of them twice; ``related``: records by patient's key."""
    stream = patients.stream
    chosen: list[Chosen] = []
    ways: tuple[tuple[Way, int], ...] = (("repeatable", REPEATABLE), ("random", seed))
    for way, lot in ways:
        taken = {each.key for each in chosen}
        drawn = [
            content.key
            for page in manifest.contents.sample(stream, size=of_each + len(taken), seed=lot)
            for content in page
            if content.key not in taken
        ]
        chosen += [Chosen(way, key, ()) for key in drawn[:of_each]]
    at_risk = _by_key([*_disagreeing(manifest, patients), *_at_risk(manifest, patients, related)])
    taken = {each.key for each in chosen}
    fresh = [key for key in at_risk if key not in taken][:of_each]
    chosen = [Chosen(each.way, each.key, at_risk.get(each.key, ())) for each in chosen]
    return chosen + [Chosen("risk", key, at_risk[key]) for key in fresh]


def _by_key(found: Sequence[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    """Reasons by key, in the order in which keys come first."""
    made: dict[str, tuple[str, ...]] = {}
    for key, why in found:
        if why not in made.get(key, ()):
            made[key] = (*made.get(key, ()), why)
    return made


def _disagreeing(manifest: Manifest, patients: MappingOf[Any]) -> Iterator[tuple[str, str]]:
    """One patient of each kind of finding of the last comparisons."""
    for checked in Checked:
        last = manifest.reconciliations.latest(
            limit=1, resource_type=patients.resource_type, checked=checked.value
        )
        for one in last:
            for kind, number in one.counts.items():
                if number:
                    found = manifest.reconciliations.findings(one.id, kind=kind, limit=1)
                    yield from (
                        (each.key, f"Medplum and the account differ: {kind.replace('-', ' ')}.")
                        for each in found
                    )


@dataclass
class _Extreme:
    """The patient for whom a measure is greatest; of equals the one that landed first."""

    why: str
    most: Any = None
    key: str | None = None

    def see(self, measure: Any, key: str) -> None:
        if measure is not None and (self.most is None or measure > self.most):
            self.most, self.key = measure, key


def _at_risk(
    manifest: Manifest, patients: MappingOf[Any], related: Mapping[str, int]
) -> list[tuple[str, str]]:
    """Patients held back for each reason, and those at the boundaries of the data, by turns."""
    names, births = _fields_of(patients)
    held: dict[str, str] = {}
    busiest = _Extreme("It has the most related records.")
    barest = _Extreme("Its row says the least: most fields are empty.")
    longest = _Extreme("It has the longest name.")
    oldest = _Extreme("It has the earliest date of birth.")
    youngest = _Extreme("It has the latest date of birth.")
    first = _Extreme("Its row is the one that changed longest ago.")
    last = _Extreme("Its row is the one that changed last.")
    for content in _rows(manifest, patients.stream):
        row, key = content.row, content.key
        if content.reason is not None:
            held.setdefault(content.reason, key)
        if not isinstance(row, dict):
            continue
        busiest.see(related.get(key), key)
        barest.see(-sum(map(is_populated, row.values())), key)
        longest.see(sum(len(_text(row, each)) for each in names) or None, key)
        born = min((_text(row, each) for each in births), default="")
        if born[:_YEAR].isdigit():
            oldest.see(_Backwards(born), key)
            youngest.see(born, key)
        if content.changed_at is not None:
            first.see(-content.changed_at.timestamp(), key)
            last.see(content.changed_at.timestamp(), key)
    conflicts = [(key, f"It did not arrive: {reason_told(why)}") for why, key in held.items()]
    extremes = [
        (each.key, each.why)
        for each in (busiest, longest, barest, oldest, youngest, last, first)
        if each.key is not None
    ]
    turns: list[tuple[str, str]] = []
    for n in range(max(len(conflicts), len(extremes))):
        turns += conflicts[n : n + 1] + extremes[n : n + 1]
    return turns


class _Backwards(str):
    """A text that is greater the earlier it comes."""

    __slots__ = ()

    def __gt__(self, other: str) -> bool:
        return str.__lt__(self, other)


def _rows(manifest: Manifest, stream: str) -> Iterator[Content]:
    for page in manifest.contents.rows(stream):
        yield from page


def _fields_of(patients: MappingOf[Any]) -> tuple[list[str], list[str]]:
    """The row's fields that become the name and the date of birth, found by trying examples."""
    paths = sorted({path for row in patients.examples for path in populated_paths(row)})
    found = traces(patients, patients.examples, paths)
    kind = patients.resource_type

    def leading_to(start: str) -> list[str]:
        return [
            path for path in paths if any(one.startswith(start) for one in found[path].elements)
        ]

    return leading_to(f"{kind}.name."), leading_to(f"{kind}.birthDate")


def _text(row: Mapping[str, Any], path: str) -> str:
    value = row.get(path, ABSENT) if path in row else value_at(row, path)
    return "" if value is ABSENT or value is None else str(value)


def counted(tokens: Iterator[list[tuple[int, list[str]]]]) -> Counter[str]:
    """How many records refer to each patient, by the key in the token."""
    counts: Counter[str] = Counter()
    for page in tokens:
        for _number, names in page:
            counts.update({name.split("|", 2)[2] for name in names})
    return counts
