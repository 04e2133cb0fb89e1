"""References between records, by the source's keys.

Belongs here: writing, reading and replacing references of the one form that mappings use,
``Patient?identifier=system|value`` (a conditional reference, as in Medplum's guide). Does not
belong here: knowing the Medplum id behind one (``resolution``) or sending it (``medplum``).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
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


def references_in(resource: Resource) -> list[tuple[str, ConditionalReference]]:
    """Every conditional reference of a resource with its element path, in document order."""
    found: list[tuple[str, ConditionalReference]] = []
    _collect(resource, str(resource.get("resourceType", "")), found)
    return found


def with_references(
    resource: Resource, resolve: Callable[[ConditionalReference], str | None]
) -> Resource:
    """A copy in which each conditional reference is what ``resolve`` makes of it.

    None leaves it as it is. The original stays untouched; parts without references are shared.
    """
    replaced: Resource = _replaced(resource, resolve)
    return replaced


def _collect(
    node: dict[str, Any] | list[Any], path: str, found: list[tuple[str, ConditionalReference]]
) -> None:
    if isinstance(node, dict):
        for name, child in node.items():
            if isinstance(child, dict | list):
                _collect(child, f"{path}.{name}", found)
            elif name == "reference" and isinstance(child, str):
                target = parse_reference(child)
                if target is not None:
                    found.append((path, target))
    else:
        for index, child in enumerate(node):
            if isinstance(child, dict | list):
                _collect(child, f"{path}[{index}]", found)


def _replaced(node: Any, resolve: Callable[[ConditionalReference], str | None]) -> Any:
    if isinstance(node, list):
        items = [_replaced(child, resolve) for child in node]
        same = all(new is old for new, old in zip(items, node, strict=True))
        return node if same else items
    if not isinstance(node, dict):
        return node
    changed: dict[str, Any] = {}
    for name, child in node.items():
        new = child
        if isinstance(child, dict | list):
            new = _replaced(child, resolve)
        elif name == "reference" and isinstance(child, str):
            target = parse_reference(child)
            new = (resolve(target) if target is not None else None) or child
        if new is not child:
            changed[name] = new
    return {**node, **changed} if changed else node
