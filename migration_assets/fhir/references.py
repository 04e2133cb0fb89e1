"""References between records, by the source's keys.

Belongs here: writing, reading and replacing references of the one form that mappings use,
``Patient?identifier=system|value`` (a conditional reference, as in Medplum's guide). Does not
belong here: knowing the Medplum id behind one (``resolution``) or sending it (``medplum``).
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Final
from urllib.parse import unquote

from migration_assets.fhir.identifiers import (
    checked_key,
    identifier_system,
    percent_encoded,
    search_token,
    split_search_token,
)
from migration_assets.mapping import Quarantined, Resource

_READABLE: Final = ":/|"
"""Left as they are, so that a reference reads as it does in the guide."""

_WITHOUT: Final = frozenset({"coding", "meta"})
"""Elements that refer to nothing, and are half of a resource: not looked into. A reference in an
extension of one would go out as it stands, for Medplum to resolve or refuse."""

_CONTAINERS: Final = (dict, list)  # a tuple: `dict | list` would be built anew per element

_FORM: Final = re.compile(r"([A-Z][A-Za-z]*)\?identifier=([^&#?\s]+)")


@dataclass(frozen=True)
class ConditionalReference:
    """A record named by its identifier; ``text`` is the form Medplum resolves (contract §5)."""

    resource_type: str
    system: str
    value: str

    @cached_property
    def text(self) -> str:
        """``Type?identifier=<percent-encoded, FHIR-escaped token>``."""
        token = percent_encoded(search_token(self.system, self.value), safe=_READABLE)
        return f"{self.resource_type}?identifier={token}"


def reference(resource_type: str, key: str | None, field: str = "") -> dict[str, str]:
    """A reference to the record that the source calls ``key``.

    Args:
        resource_type: FHIR type of the target.
        key: the source's id of the target.
        field: the row's field that holds the key, for the reason of a quarantine.

    Raises:
        Quarantined: ``missing-reference`` when there is no key; or as ``identifiers.identifier``.
    """
    if key is None or key == "":
        raise Quarantined("missing-reference", field)
    target = ConditionalReference(
        resource_type, identifier_system(resource_type), checked_key(key, field)
    )
    return {"reference": target.text}


def optional_reference(resource_type: str, key: str | None, field: str) -> dict[str, str] | None:
    """As ``reference``, but a reference the source leaves out is None."""
    return reference(resource_type, key, field) if key else None


@lru_cache(maxsize=8_192)  # a row's references are each read three times on their way out
def parse_reference(text: str) -> ConditionalReference | None:
    """What a conditional reference names; None for any other text."""
    form = _FORM.fullmatch(text)
    if form is None:
        return None
    try:
        system, value = split_search_token(unquote(form[2], errors="strict"))
    except ValueError:
        return None
    return ConditionalReference(form[1], system, value)


@dataclass(frozen=True, slots=True)
class FoundReference:
    """A conditional reference and where it stands: the way down to the element that holds it."""

    target: ConditionalReference
    way: tuple[str | int, ...]

    def path(self, resource_type: str) -> str:
        """Its element path, ``Observation.performer[0]``."""
        steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.way)
        return resource_type + "".join(steps)


def find_references(resource: Resource) -> list[FoundReference]:
    """Every conditional reference of a resource, in document order."""
    found: list[FoundReference] = []
    _collect(resource, (), found)
    return found


def references_in(resource: Resource) -> list[tuple[str, ConditionalReference]]:
    """Every conditional reference of a resource with its element path, in document order."""
    kind = str(resource.get("resourceType", ""))
    return [(each.path(kind), each.target) for each in find_references(resource)]


def with_references(
    resource: Resource,
    resolve: Callable[[ConditionalReference], str | None],
    found: list[FoundReference] | None = None,
) -> Resource:
    """A copy in which each conditional reference is what ``resolve`` makes of it.

    None leaves it as it is. The original stays untouched; parts without references are shared.
    ``found`` is what ``find_references`` says of it, for callers that have asked already.
    """
    made: Resource = resource
    for each in find_references(resource) if found is None else found:
        literal = resolve(each.target)
        if literal is not None:
            made = _replaced(made, each.way, literal)
    return made


def without_items(resource: Resource, ways: Iterable[tuple[str | int, ...]]) -> Resource:
    """A copy without the top-level elements, or items of one, that these ways lead into."""
    items: dict[str, set[int] | None] = {}
    for name, *rest in ways:
        if rest and isinstance(rest[0], int):
            kept = items.setdefault(str(name), set())
            if kept is not None:
                kept.add(rest[0])
        else:
            items[str(name)] = None
    made: Resource = {}
    for name, value in resource.items():
        dropped = items.get(name, set())
        if dropped is None:
            continue
        if dropped:
            left = [each for index, each in enumerate(value) if index not in dropped]
            if left:
                made[name] = left
        else:
            made[name] = value
    return made


def _collect(
    node: dict[str, Any] | list[Any], way: tuple[str | int, ...], found: list[FoundReference]
) -> None:
    if isinstance(node, dict):
        for name, child in node.items():
            if isinstance(child, _CONTAINERS):
                if name not in _WITHOUT:
                    _collect(child, (*way, name), found)
            elif name == "reference" and isinstance(child, str):
                target = parse_reference(child)
                if target is not None:
                    found.append(FoundReference(target, way))
    else:
        for index, child in enumerate(node):
            if isinstance(child, _CONTAINERS):
                _collect(child, (*way, index), found)


def _replaced(node: Any, way: tuple[str | int, ...], literal: str) -> Any:
    """A copy of ``node`` along ``way`` only, with the reference at its end made literal."""
    copy: Any = node.copy()
    if way:
        copy[way[0]] = _replaced(node[way[0]], way[1:], literal)
    else:
        copy["reference"] = literal
    return copy
