"""A row beside its resources, field by field: which element each field became.

Belongs here: finding that out for one row, by leaving a field out and looking what is gone; where
that cannot be tried, by what the field does in the mapping's examples. Does not belong here: which
rows are looked at.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import orjson

from migration_assets.fhir.references import parse_reference
from migration_assets.mapping import Mapping as MappingOf
from migration_assets.mapping import Resource
from migration_assets.profiling.evidence import Trace, traces
from migration_assets.profiling.places import is_populated, kind_of, places, without
from migration_assets.profiling.population import populated_paths
from migration_assets.signoff.values import Pair
from migration_assets.signoff.withholding import Withholding
from migration_assets.steps.preparation import mapped

_MOST_ELEMENTS = 8
_LONGEST = 2_000
_TOP = 1  # dots in the path of an element of the resource itself

Leaf = tuple[str, str]
"""An element's path, list indexes left out, and its text."""


@dataclass(frozen=True)
class Pairing:
    """Pairs rows of one mapping with what they became."""

    mapping: MappingOf[Any]
    names: Withholding
    puller: Mapping[str, str]
    """Fields that the puller reads, and as what."""

    @cached_property
    def _traces(self) -> dict[str, Trace]:
        examples = self.mapping.examples
        paths = sorted({path for row in examples for path in populated_paths(row)})
        return traces(self.mapping, examples, paths)

    def pairs(
        self, row: Any, resources: Sequence[Resource]
    ) -> tuple[tuple[Pair, ...], tuple[tuple[str, str | None], ...]]:
        """Every field of the row that says something; and the elements that come from none."""
        leaves = _leaves(resources)
        fields: dict[str, list[Any]] = {}
        for place in places(row):
            if kind_of(place.value) not in ("object", "list") and is_populated(place.value):
                fields.setdefault(place.path, []).append(place.value)
        whole = Counter(_leaves(mapped(self.mapping, row)))
        used: set[Leaf] = set()
        made = []
        for path, values in fields.items():
            became = self._became(row, path, values, whole, leaves) if resources else []
            used.update(became)
            made.append(self._pair(path, values, became, any_resource=bool(resources)))
        added = [each for each in dict.fromkeys(leaves) if each not in used]
        return tuple(made), tuple((path, self.names.value(text)) for path, text in added)

    def _became(
        self, row: Any, path: str, values: Sequence[Any], whole: Counter[Leaf], leaves: list[Leaf]
    ) -> list[Leaf]:
        there = set(leaves)
        texts = {_text(each) for each in values}
        if len(values) == 1:
            rest = mapped(self.mapping, without(row, path))
            if rest:
                gone = [each for each in whole - Counter(_leaves(rest)) if each in there]
                return _nearest(gone, texts)[:_MOST_ELEMENTS]
        trace = self._traces.get(path)
        known = trace.elements if trace else ()
        maybe = [each for each in dict.fromkeys(leaves) if each[0] in known]
        return _nearest(maybe, texts)[:_MOST_ELEMENTS]

    def _pair(
        self, path: str, values: Sequence[Any], became: Sequence[Leaf], *, any_resource: bool
    ) -> Pair:
        texts = [_text(each) for each in values]
        fate, why = self._fate(path, texts, became, any_resource=any_resource)
        return Pair(
            field=path,
            value=self.names.value(", ".join(texts)[:_LONGEST]),
            fate=fate,
            why=why,
            elements=tuple((at, self.names.value(text[:_LONGEST])) for at, text in became),
        )

    def _fate(
        self, path: str, texts: Sequence[str], became: Sequence[Leaf], *, any_resource: bool
    ) -> tuple[str, str]:
        for name, (kind, why) in self.mapping.left_out.items():
            if path == name or path.startswith((f"{name}.", f"{name}[]")):
                return "left out", f"{kind.value}: {why}"
        if not became and path in self.puller:
            return "read", self.puller[path]
        if not any_resource:
            return "withheld", ""
        if not became:
            read = (trace := self._traces.get(path)) is not None and trace.is_read
            return "unread", "It was looked at, and changes nothing here." if read else ""
        written = {text for _path, text in became}
        return ("same" if written.issuperset(texts) else "rewritten"), ""


def _nearest(found: Iterable[Leaf], texts: set[str]) -> list[Leaf]:
    """Where the field's own text is among the elements: that, and what describes it.

    A note that is left out takes a whole resource along, and is none of its other elements.
    """
    every = list(found)
    # What names a code system says nothing to a reader; it stays among what the mapping adds.
    listed = [each for each in every if not each[0].endswith(".system")] or every
    verbatim = [each for each in listed if each[1] in texts]
    if not verbatim:
        return listed
    parents = {_parent(path) for path, _text in verbatim if path.count(".") > _TOP}
    beside = [each for each in listed if _parent(each[0]) in parents]
    return verbatim + [each for each in beside if each not in verbatim]


def _parent(path: str) -> str:
    return path.rpartition(".")[0]


def _leaves(resources: Iterable[Mapping[str, Any]]) -> list[Leaf]:
    found: list[Leaf] = []
    for resource in resources:
        kind = str(resource["resourceType"])
        found += [
            (f"{kind}.{place.path.replace('[]', '')}", _text(place.value))
            for place in places(resource)
            if kind_of(place.value) not in ("object", "list")
        ]
    return found


def _text(value: Any) -> str:
    if isinstance(value, str):
        named = parse_reference(value)
        return value if named is None else f"{named.resource_type} with the key {named.value}"
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return str(value)
