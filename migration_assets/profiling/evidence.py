"""Which element a field of a row ends up in, found by changing the field and looking what changes.

Belongs here: the experiment, on the mapping's examples and on landed rows. Does not belong here:
how it is told (``register``). A mapping is pure, so that what differs between two runs is the
field's doing. Nothing is read out of the mapping's source: it may be written any way it likes.
"""

import copy
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from migration_assets.mapping import Mapping, Resource
from migration_assets.profiling.places import ABSENT, kind_of, places, value_at, with_value, without
from migration_assets.profiling.population import populated_paths
from migration_assets.steps.preparation import preview
from migration_assets.terminology import concept_map, lookups

_TRIED_ROWS = 6
_TRIED_VALUES = 8
_KEPT_AS_IT_IS, _LEFT_OUT, _ELSE = "kept as it is", "left out", "written otherwise"
_NO_CHANGE = "no change"
_WAITS = "kept as a reference, which waits for its row"
_INDEX = re.compile(r"\[\d+\]")

_PROBES: dict[str, Any] = {
    "unknown": "no-such-value",
    "blank": "",
    "impossible date": "2024-02-30",
    "another type": {"unexpected": True},
}
"""Invalid values by what they are called; none is anybody's."""


@dataclass
class Trace:
    """What was seen of one field.

    ``elements`` are FHIR paths without list indexes. ``verbatim`` are those that hold the value as
    the row has it. ``maps`` are concept maps that were asked for it. ``missing`` and ``invalid``
    say what became of a row without the field, and of each kind of invalid value, with how many
    rows showed it. ``without_effect`` rows had the field and would have come out the same.
    """

    tried: int = 0
    without_effect: int = 0
    elements: Counter[str] = field(default_factory=Counter)
    verbatim: set[str] = field(default_factory=set)
    maps: set[str] = field(default_factory=set)
    missing: Counter[str] = field(default_factory=Counter)
    invalid: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    @property
    def is_read(self) -> bool:
        """Whether the field makes any difference."""
        # What the row model refuses by its type alone, nobody has read yet.
        refused = any(
            each.startswith(("quarantined", "skipped")) and not each.startswith("quarantined: row-")
            for counts in (self.missing, *self.invalid.values())
            for each in counts
        )
        return bool(self.elements or self.maps or refused)


@dataclass(frozen=True)
class _Result:
    """What a row came to: its elements, or why there are none; ``asked`` are maps and codes."""

    elements: dict[str, tuple[str, ...]]
    refused: str | None
    asked: Counter[tuple[str, str]]


def traces(mapping: Mapping[Any], rows: Iterable[Any], paths: Iterable[str]) -> dict[str, Trace]:
    """What each of ``paths`` does to the resources, tried on those ``rows`` that can be mapped."""
    sound = [row for row in rows if isinstance(row, dict) and _result(mapping, row).refused is None]
    values = _values(sound)
    return {path: _trace(mapping, path, sound, values.get(path, [])) for path in paths}


def _trace(mapping: Mapping[Any], path: str, rows: Sequence[Any], values: list[Any]) -> Trace:
    trace = Trace()
    having = [row for row in rows if path in populated_paths(row)]
    for row in having[:_TRIED_ROWS]:
        trace.tried += 1
        before = _result(mapping, row)
        value = value_at(row, path)
        removed = _result(mapping, without(row, path))
        trace.missing[_what_became(before, removed, None)] += 1
        changed = _changed(before, removed)
        for other in _alternatives(value, values, before.asked):
            after = _result(mapping, with_value(row, path, other))
            changed |= _changed(before, after)
            trace.maps |= _newly_asked(before, after, other)
        for name, probe in _PROBES.items():
            after = _result(mapping, with_value(row, path, copy.deepcopy(probe)))
            trace.maps |= _newly_asked(before, after, probe)
            trace.invalid[name][_what_became(before, after, probe)] += 1
            changed |= _changed(before, after)
        trace.without_effect += 0 if changed else 1
        trace.elements.update(changed)
        written = str(value)
        trace.verbatim.update(
            each
            for each in changed
            if any(written == text for text in before.elements.get(each, ()))
        )
    return trace


def _result(mapping: Mapping[Any], row: Any) -> _Result:
    with lookups() as heard:
        seen = preview(mapping, "", row)
    if seen.problems:
        first = _INDEX.sub("[]", seen.problems[0])
        refused = first if first.startswith("skipped") else f"quarantined: {first}"
        return _Result({}, refused, Counter(heard))
    return _Result(_elements(seen.resources), None, Counter(heard))


def _elements(resources: Iterable[Resource]) -> dict[str, tuple[str, ...]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for resource in resources:
        kind = str(resource["resourceType"])
        for place in places(resource):
            if kind_of(place.value) not in ("object", "list"):
                found[f"{kind}.{place.path.replace('[]', '')}"].append(str(place.value))
    return {path: tuple(texts) for path, texts in found.items()}


def _changed(before: _Result, after: _Result) -> set[str]:
    """Elements that differ; none where the row was refused, for then all are gone."""
    if after.refused is not None:
        return set()
    every = before.elements.keys() | after.elements.keys()
    return {each for each in every if before.elements.get(each) != after.elements.get(each)}


def _what_became(before: _Result, after: _Result, probe: Any) -> str:
    if after.refused is not None:
        return after.refused
    changed = _changed(before, after)
    if not changed:
        return _NO_CHANGE
    if isinstance(probe, str) and probe:
        now = {each: after.elements.get(each, ()) for each in changed}
        if any(probe in texts for texts in now.values()):
            return _KEPT_AS_IT_IS
        if any(each.endswith(".reference") and any(probe in t for t in now[each]) for each in now):
            return _WAITS
    gone = all(len(after.elements.get(e, ())) < len(before.elements.get(e, ())) for e in changed)
    return _LEFT_OUT if gone else _ELSE


def _newly_asked(before: _Result, after: _Result, value: Any) -> set[str]:
    """Maps that are asked for a value since it stands in the field; M is a sex and a marriage."""
    return {name for name, code in after.asked - before.asked if code == value}


def _alternatives(
    value: Any, values: Iterable[Any], asked: Iterable[tuple[str, str]]
) -> Iterator[Any]:
    """Values of other rows, and codes of the maps that were asked for this one."""
    yield from (each for each in values if each != value)
    for name in {name for name, code in asked if code == value}:
        codes = islice(concept_map(name).translations, _TRIED_VALUES)
        yield from (each for each in codes if each != value)


def _values(rows: Iterable[Any]) -> dict[str, list[Any]]:
    """A few different sound values of each field, to put in place of each other."""
    found: dict[str, list[Any]] = {}
    for row in rows:
        for path in populated_paths(row):
            values, value = found.setdefault(path, []), value_at(row, path)
            if value is not ABSENT and value not in values and len(values) < _TRIED_VALUES:
                values.append(value)
    return found
