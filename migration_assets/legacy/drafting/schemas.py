"""What a JSON schema says a value holds: merged, flattened to fields with dotted paths.

Belongs here: ``allOf``, nullable alternatives, references, nesting, all of it bounded, for a
schema may hold itself. Does not belong here: what a field is good for.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from migration_assets.legacy.drafting.documents import Document, mapping, sequence, text
from migration_assets.legacy.drafting.words import words

_DEEPEST = 3  # attributes.meta.updated_at; a key or change time lies no deeper anywhere seen
_MOST_FIELDS = 500
_FIRST_MILLISECOND = 100_000_000_000  # as seconds it is the year 5138
_CALLED_A_KEY = frozenset({("pk",), ("id",), ("key",), ("identifier",)})


@dataclass(frozen=True)
class Shape:
    """A schema with its references followed and its parts merged.

    ``kind`` is the JSON type, blank if unknown; ``marked`` if a vendor's extension calls it a key
    (``x-primary-key``); ``in_milliseconds`` if its example is an epoch of that size.
    """

    kind: str = ""
    format: str = ""
    properties: Mapping[str, Any] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
    items: Any = None
    marked: bool = False
    in_milliseconds: bool = False


@dataclass(frozen=True)
class Field:
    """A property below a row or an answer, by its dotted path."""

    path: str
    shape: Shape
    required: bool = False

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]


_UNKNOWN = Shape()


class Schemas:
    """Reads the schemas of one document, each once."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._shapes: dict[int, tuple[Mapping[str, Any], Shape]] = {}

    def shape(self, schema: Any) -> Shape:
        """The schema, merged. Whatever it is, the answer is a shape: an empty one says nothing."""
        found = self._document.resolve(schema)
        if not found:
            return _UNKNOWN
        if id(found) not in self._shapes:  # kept beside its shape, so that no other gets its id
            self._shapes[id(found)] = (found, _merged(list(self._parts(found, set()))))
        return self._shapes[id(found)][1]

    def fields(self, schema: Any, *, deepest: int = _DEEPEST) -> tuple[Field, ...]:
        """The fields below a schema, those of an object before what is inside them."""
        found: list[Field] = []
        level = [("", self.shape(schema))]
        for _ in range(deepest):
            level = list(self._below(level, found))
        return tuple(found)

    def _below(
        self, level: list[tuple[str, Shape]], found: list[Field]
    ) -> Iterator[tuple[str, Shape]]:
        for above, holder in level:
            for name, schema in holder.properties.items():
                if len(found) >= _MOST_FIELDS:
                    return
                if not can_be_said(name):
                    continue
                path, shape = f"{above}{name}", self.shape(schema)
                found.append(Field(path, shape, name in holder.required))
                if shape.properties:
                    yield f"{path}.", shape

    def _parts(self, schema: Mapping[str, Any], seen: set[int]) -> Iterator[Mapping[str, Any]]:
        """A schema and what it is made of, each part once however often it is named."""
        left = [schema]
        while left:
            one = left.pop()
            if not one or id(one) in seen:
                continue
            seen.add(id(one))
            yield one
            left += [self._document.resolve(part) for part in reversed(sequence(one.get("allOf")))]
            for word in ("oneOf", "anyOf"):
                alternatives = [self._document.resolve(part) for part in sequence(one.get(word))]
                alternatives = [part for part in alternatives if part.get("type") != "null"]
                if len(alternatives) == 1:  # one or null; of several we cannot know which comes
                    left.append(alternatives[0])


def can_be_said(name: str) -> bool:
    """A dotted path has no way to name a property with a dot or a blank (``@odata.nextLink``)."""
    return bool(name) and name != "$" and "." not in name and not any(c.isspace() for c in name)


def _merged(parts: list[Mapping[str, Any]]) -> Shape:
    properties: dict[str, Any] = {}
    required: set[str] = set()
    kind, form, items, marked, milliseconds = "", "", None, False, False
    for part in parts:
        for name, schema in mapping(part.get("properties")).items():
            properties.setdefault(name, schema)
        required |= {name for name in sequence(part.get("required")) if isinstance(name, str)}
        kind = kind or _kind(part)
        form = form or text(part.get("format"))
        items = part.get("items") if items is None else items
        marked = marked or any(_marks_a_key(name, value) for name, value in part.items())
        example = part.get("example")
        milliseconds = milliseconds or (isinstance(example, int) and example >= _FIRST_MILLISECOND)
    return Shape(kind, form, properties, frozenset(required), items, marked, milliseconds)


def _kind(schema: Mapping[str, Any]) -> str:
    said = schema.get("type")
    kinds = [said] if isinstance(said, str) else [one for one in sequence(said) if one != "null"]
    if len(kinds) == 1 and isinstance(kinds[0], str):
        return kinds[0]
    if kinds:
        return ""
    return "object" if "properties" in schema else "array" if "items" in schema else ""


def _marks_a_key(name: str, value: Any) -> bool:
    if value is not True or not name.startswith("x-"):
        return False
    said = tuple(word for word in words(name) if word not in ("x", "is"))
    return "primary" in said or said in _CALLED_A_KEY
