"""A stream's profile: its rows go by in chunks, and what stays is one profile per field.

Belongs here: from rows to fields, and what is told of the stream as a whole. Does not belong here:
where rows come from (``reading``), or what is told of one field (``field``). Memory is bounded by
the number of fields, not of rows.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from migration_assets.profiling.field import FieldProfile, FieldTally
from migration_assets.profiling.places import kind_of, places
from migration_assets.profiling.references import Reference, ReferenceTally, looks_like_reference

if TYPE_CHECKING:
    import pandas as pd

_MOST_FIELDS = 800
_MOST_INNER_NAMES = 100
_KEY_SHARE = 0.9
_SCALAR_KINDS = ("text", "integer", "number", "boolean")


@dataclass(frozen=True)
class SeenRow:
    """A row to be profiled; ``key`` is None if it has no usable one."""

    key: str | None
    row: Any
    changed_at: datetime | None = None
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class StreamProfile:
    """What a stream is like.

    ``origin`` says which rows were looked at, ``rows`` how many, of ``total`` if that is known.
    ``deleted`` rows on account were not looked at. ``keyless`` rows have no usable key;
    ``duplicate_keys`` share theirs with a different row. ``key_field`` holds the key, as far as the
    rows show. ``months`` are those of the change time. ``hidden`` are objects with so many names
    that those look like data: they are counted, not told. ``untold`` values are of fields beyond
    the first 800.
    """

    stream: str
    origin: str
    rows: int
    total: int | None
    deleted: int
    not_objects: int
    keyless: int
    duplicate_keys: int
    key_field: str | None
    months: dict[str, int]
    undated: int
    fields: tuple[FieldProfile, ...]
    references: tuple[Reference, ...]
    hidden: dict[str, int]
    untold: int

    @property
    def objects(self) -> int:
        """Rows that are objects, as all should be."""
        return self.rows - self.not_objects


@dataclass(frozen=True)
class Origin:
    """Which rows are looked at, in words, of how many, and how many deleted ones are left out."""

    told: str
    total: int | None = None
    deleted: int = 0


def profile(
    stream: str, origin: Origin, chunks: Iterable[Sequence[SeenRow]], references: ReferenceTally
) -> StreamProfile:
    """The profile of a stream's rows, each looked at once."""
    tally = _StreamTally(references)
    for chunk in chunks:
        tally.add(chunk)
    return tally.told(stream, origin)


class _StreamTally:
    """Counts the rows of one stream."""

    def __init__(self, references: ReferenceTally) -> None:
        self._references = references
        self._fields: dict[str, FieldTally] = {}
        self._objects: Counter[str] = Counter()
        self._months: Counter[str] = Counter()
        self._is_key: Counter[str] = Counter()
        self._seen: Counter[str] = Counter()

    def add(self, rows: Sequence[SeenRow]) -> None:
        """Note a chunk of rows."""
        self._seen["rows"] += len(rows)
        for row in rows:
            self._note(row)
        if not any(isinstance(row.row, dict) for row in rows):
            return
        for (path, kind), values in _columns(rows):
            if path not in self._fields and len(self._fields) >= _MOST_FIELDS:
                self._seen["untold"] += len(values)
                continue
            counted = _counted(kind, values)
            self._fields.setdefault(path, FieldTally(path)).add(kind, counted)
            if kind == "object":
                self._objects[path] += len(values)
            elif kind in ("text", "integer") and looks_like_reference(path):
                self._references.add(path, counted)

    def _note(self, row: SeenRow) -> None:
        self._seen["keyless"] += row.key is None
        self._seen["duplicates"] += row.problem == "duplicate-key"
        if row.changed_at is None:
            self._seen["undated"] += 1
        else:
            self._months[row.changed_at.date().isoformat()[:7]] += 1
        if not isinstance(row.row, dict):
            self._seen["not-objects"] += 1
            return
        self._objects[""] += 1
        if row.key is not None:
            self._is_key.update(
                name for name, value in row.row.items() if _is_the_key(value, row.key)
            )

    def told(self, stream: str, origin: Origin) -> StreamProfile:
        hidden = self._hidden()
        shown = [
            path for path in self._fields if not path.startswith(tuple(f"{h}." for h in hidden))
        ]
        keys = self._is_key.most_common(1)
        keyed = self._objects[""] - self._seen["keyless"]
        key = keys[0][0] if keys and keys[0][1] >= _KEY_SHARE * max(1, keyed) else None
        return StreamProfile(
            stream=stream,
            origin=origin.told,
            rows=self._seen["rows"],
            total=origin.total,
            deleted=origin.deleted,
            not_objects=self._seen["not-objects"],
            keyless=self._seen["keyless"],
            duplicate_keys=self._seen["duplicates"],
            key_field=key,
            months=dict(sorted(self._months.items())),
            undated=self._seen["undated"],
            fields=tuple(self._fields[path].profile(self._could_be_in(path)) for path in shown),
            references=tuple(each for each in self._references.told() if each.path != key),
            hidden=hidden,
            untold=self._seen["untold"],
        )

    def _could_be_in(self, path: str) -> int | None:
        if path.endswith(("[]", "*")):
            return None
        return self._objects[path.rpartition(".")[0]]

    def _hidden(self) -> dict[str, int]:
        names: defaultdict[str, set[str]] = defaultdict(set)
        for path in self._fields:
            parent, dot, name = path.rpartition(".")
            if dot:
                names[parent].add(name)
        return {each: len(named) for each, named in names.items() if len(named) > _MOST_INNER_NAMES}


def _columns(rows: Sequence[SeenRow]) -> Iterator[tuple[tuple[str, str], "pd.Series[Any]"]]:
    """The values of each field and kind, in the order in which fields first occur."""
    import pandas as pd  # noqa: PLC0415 - 0.7 s of import that other verbs need not wait for

    found = [place for row in rows if isinstance(row.row, dict) for place in places(row.row)]
    frame = pd.DataFrame(
        {
            "path": [place.path for place in found],
            "kind": [kind_of(place.value) for place in found],
            # As objects: pandas would make numbers of texts and blanks of what is none.
            "value": pd.Series([place.value for place in found], dtype=object),
        }
    )
    for (path, kind), values in frame.groupby(["path", "kind"], sort=False)["value"]:
        yield (str(path), str(kind)), values


def _counted(kind: str, values: "pd.Series[Any]") -> list[tuple[Any, int]]:
    """Different values with their counts; lists and objects are not compared."""
    import numpy as np  # noqa: PLC0415 - as pandas
    import pandas as pd  # noqa: PLC0415

    if kind not in _SCALAR_KINDS:
        return [(None, len(values))] if kind == "null" else [(each, 1) for each in values]
    codes, different = pd.factorize(values.to_numpy())
    return list(zip(different.tolist(), np.bincount(codes).tolist(), strict=True))


def _is_the_key(value: Any, key: str) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and str(value) == key
