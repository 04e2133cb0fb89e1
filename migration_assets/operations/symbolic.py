"""Resources as mappings write them: references by the source's keys, not by Medplum's ids.

Belongs here: the way back of resolving. Does not belong here: what a mapping makes of it
(``reversing``).

Most references of an edited resource are those it had: the row on account says which, and the
account under which id. Only what is new to it is looked up in Medplum, by its identifier.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from migration_assets.fhir.identifiers import identifier_system
from migration_assets.fhir.reading import own_key
from migration_assets.fhir.references import ConditionalReference, references_in
from migration_assets.manifest import Manifest, token
from migration_assets.mapping import Mapping as Mapped
from migration_assets.mapping import Resource
from migration_assets.medplum import Member
from migration_assets.medplum.looking import Looker
from migration_assets.steps.preparation import mapped


@dataclass
class Symbolic:
    """Makes literal references symbolic; remembers what it looked up."""

    manifest: Manifest
    looker: Looker
    known: dict[str, str | None] = field(default_factory=dict)
    """By literal: the symbolic form, or None for what no row stands for."""

    def of(self, mapping: Mapped[Any], row: Any, resources: list[Resource]) -> list[Resource]:
        """Copies of ``resources``, of the unit with that row."""
        self._learn_from_row(mapping, row)
        literals = {each for one in resources for each in _literals(one)}
        self._look_up(each for each in literals if each not in self.known)
        return [_replaced(each, self.known) for each in resources]

    def _learn_from_row(self, mapping: Mapped[Any], row: Any) -> None:
        named = {
            token(each.resource_type, each.system, each.value): each
            for resource in mapped(mapping, row)
            for _path, each in references_in(resource)
        }
        for name, fhir_id in self.manifest.known_ids(named).items():
            self.known[f"{named[name].resource_type}/{fhir_id}"] = named[name].text

    def _look_up(self, literals: Iterable[str]) -> None:
        listed = list(literals)
        members = []
        for each in listed:
            kind, fhir_id = each.split("/", 1)
            members.append(Member(kind, "", "", None, fhir_id))
        held = self.looker.held(members)
        for each in listed:
            kind, fhir_id = each.split("/", 1)
            key = own_key(held[fhir_id]) if fhir_id in held else None
            self.known[each] = (
                None
                if key is None
                else ConditionalReference(kind, identifier_system(kind), key).text
            )


def _literals(node: Any) -> list[str]:
    found: list[str] = []
    if isinstance(node, dict):
        text = node.get("reference")
        if isinstance(text, str) and _is_literal(text):
            found.append(text)
        for each in node.values():
            found += _literals(each)
    elif isinstance(node, list):
        for each in node:
            found += _literals(each)
    return found


def _is_literal(text: str) -> bool:
    kind, slash, fhir_id = text.partition("/")
    return bool(slash and kind.isalpha() and kind[:1].isupper() and fhir_id) and not (
        {"/", "?", "#"} & set(fhir_id)
    )


def _replaced(node: Any, known: Mapping[str, str | None]) -> Any:
    if isinstance(node, dict):
        made = {name: _replaced(each, known) for name, each in node.items()}
        text = node.get("reference")
        symbolic = known.get(text) if isinstance(text, str) else None
        return made if symbolic is None else {**made, "reference": symbolic}
    if isinstance(node, list):
        return [_replaced(each, known) for each in node]
    return node
