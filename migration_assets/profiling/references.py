"""References between streams: fields that look like keys of another, and values no row has.

Belongs here: which stream a field refers to, and counting what dangles. Does not belong here: how
keys are looked up (the account knows). The stream is told by the field's name (``patient_id`` →
``patients``), else by whose keys most of its values are.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from migration_assets.profiling.places import last_name

KeysKnown: TypeAlias = Callable[[str, Sequence[str]], Mapping[str, bool]]
"""Of a stream's keys those that are on account, and whether the row was deleted."""

_REFERS = re.compile(r"(?P<to>.+?)(?:_ids?|Ids?|_keys?|_refs?|_uuid)$")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_TRIED = 200
_MOST = 0.5


@dataclass(frozen=True)
class Reference:
    """A field that refers to a stream; counts of values.

    ``dangling`` values are no key of that stream, ``to_deleted`` are of a row that was deleted.
    ``named``: the field's name says which stream it is; otherwise its values do.
    """

    path: str
    stream: str
    values: int
    dangling: int
    to_deleted: int
    named: bool


def looks_like_reference(path: str) -> bool:
    """Whether a field is named like the key of something."""
    return _REFERS.fullmatch(last_name(path)) is not None


class ReferenceTally:
    """Follows the reference-like fields of one stream through its rows."""

    def __init__(self, streams: Iterable[str], known: KeysKnown) -> None:
        self._streams = sorted(streams)
        self._known = known
        self._targets: dict[str, tuple[str, bool] | None] = {}
        self._counts: dict[str, tuple[int, int, int]] = {}

    def add(self, path: str, values: Iterable[tuple[Any, int]]) -> None:
        """Note different values of a field, each with how often it occurs."""
        keys = {str(value): count for value, count in values if _is_key(value)}
        if not keys:
            return
        if self._targets.get(path) is None:
            self._targets[path] = self._target(path, list(keys))
        target = self._targets[path]
        if target is None:
            return
        found = self._known(target[0], [key for key in keys if _is_storable(key)])
        seen, dangling, to_deleted = self._counts.get(path, (0, 0, 0))
        self._counts[path] = (
            seen + sum(keys.values()),
            dangling + sum(count for key, count in keys.items() if key not in found),
            to_deleted + sum(count for key, count in keys.items() if found.get(key)),
        )

    def told(self) -> tuple[Reference, ...]:
        """Every field whose stream was found."""
        return tuple(
            Reference(path, target[0], values, dangling, to_deleted, target[1])
            for path, (values, dangling, to_deleted) in self._counts.items()
            if (target := self._targets[path]) is not None
        )

    def _target(self, path: str, keys: list[str]) -> tuple[str, bool] | None:
        named = self._named(path)
        if named is not None:
            return named, True
        tried = [key for key in keys[:_TRIED] if _is_storable(key)]
        hits = {each: len(self._known(each, tried)) for each in self._streams}
        best = max(hits, key=lambda each: hits[each], default=None)
        if best is None or hits[best] <= _MOST * len(tried):
            return None
        return best, False

    def _named(self, path: str) -> str | None:
        match = _REFERS.fullmatch(last_name(path))
        if match is None:
            return None
        said = _CAMEL.sub("_", match["to"]).lower()
        fitting = [
            each for each in self._streams
            if said == _singular(each) or said.endswith(f"_{_singular(each)}")
        ]  # fmt: skip
        return max(fitting, key=len, default=None)


def _is_key(value: Any) -> bool:
    if isinstance(value, str):
        return bool(value.strip())
    return isinstance(value, int) and not isinstance(value, bool)


def _is_storable(key: str) -> bool:
    """Whether a database could hold it as a key at all: no NUL, no lone surrogate."""
    return "\0" not in key and not any("\ud800" <= each <= "\udfff" for each in key)


def _singular(stream: str) -> str:
    name = _CAMEL.sub("_", stream).lower().replace("-", "_")
    if name.endswith("ies"):
        return f"{name[:-3]}y"
    if name.endswith(("sses", "xes", "ches", "shes")):
        return name[:-2]
    return name.removesuffix("s")
