"""What a row would have to be so that its resources say what Medplum holds (pure).

Belongs here: asking the mapping for the way back, proving its answer, and leaving out what need not
change. Does not belong here: Medplum, the legacy system, or the account (``writing_back``).

The proof: the row that the way back makes is mapped again, and must come out as what Medplum holds,
element by element. What it does not say again (an extension, a second phone number) would be lost,
so nothing of the edit is written, and the element's path is told.

Two resources say the same although they differ in what Medplum or its forms add: the display beside
a code or a reference, the narrative that is generated, tags and the source, and the source's own
coding beside a standard one where the form knew only that. All else counts.
"""

from collections.abc import Mapping as MappingOf
from dataclasses import dataclass
from typing import Any

from migration_assets.errors import Quarantine
from migration_assets.fhir.fingerprints import fingerprint
from migration_assets.fhir.identifiers import identifier_system
from migration_assets.fhir.references import references_in
from migration_assets.manifest import token
from migration_assets.mapping import SOURCE_URI, Mapping, Resource, Skip
from migration_assets.reconciliation.differences import differences
from migration_assets.steps.preparation import preview

NOT_REPRESENTABLE = "not-representable"
"""Reason of an edit that the row has no field for; its field is the element's path."""
NEW_KEY = "~new~"
"""Stands for the key of a row that the source has not given one yet."""


@dataclass(frozen=True)
class Way:
    """How a row has to change. ``fields`` are those that differ from what it is.

    ``prints`` by token: of what the row is mapped to, where that is just what Medplum holds;
    ``references`` by token: element paths and tokens of what that refers to.
    """

    row: dict[str, Any]
    fields: dict[str, Any]
    prints: MappingOf[str, str | None]
    references: MappingOf[str, tuple[tuple[str, str], ...]]


@dataclass(frozen=True)
class NoWay:
    """Why an edit cannot be said by a row; ``skipped``: a rule of the mapping leaves it out."""

    reason: str
    field: str = ""
    skipped: bool = False


def way_back(
    mapping: Mapping[Any], row: MappingOf[str, Any], held: MappingOf[str, Resource]
) -> Way | NoWay:
    """The row that says what Medplum holds of a unit, by token; references as ``build`` writes."""
    fields: dict[str, Any] = {}
    for resource in held.values():
        try:
            told = _asked(mapping, resource, dict(row))
        except Quarantine as error:
            return NoWay(error.reason, error.field)
        if isinstance(told, NoWay):
            return told
        fields |= told
    made = _mapped(mapping, {**row, **fields})
    if isinstance(made, NoWay):
        return made
    for name in (*held, *(each for each in made if each not in held)):
        kind = name.split("|", 1)[0]
        if name not in made or name not in held:
            return NoWay(NOT_REPRESENTABLE, kind)
        one, other = alike(made[name], held[name])
        for each in differences(one, other):
            return NoWay(NOT_REPRESENTABLE, each.path)
    fields = _needed(mapping, row, fields, made)
    exact = {name: not differences(made[name], held[name]) for name in made}
    return Way(
        {**row, **fields},
        fields,
        {name: fingerprint(each) if exact[name] else None for name, each in made.items()},
        {name: _references(each) for name, each in made.items()},
    )


def way_of_new(mapping: Mapping[Any], resource: Resource, key_field: str) -> Way | NoWay:
    """The row of a resource that no row stands for; its key is ``NEW_KEY`` until there is one."""
    kind = str(resource["resourceType"])
    named = named_as(resource, NEW_KEY)
    found = way_back(mapping, {key_field: NEW_KEY}, {_token(kind, NEW_KEY): named})
    if isinstance(found, NoWay):
        return found
    fields = {name: each for name, each in found.row.items() if name != key_field}
    return Way(found.row, fields, found.prints, found.references)


def named_as(resource: Resource, key: str) -> Resource:
    """The resource with the source's key as its first identifier."""
    own = {"system": identifier_system(str(resource["resourceType"])), "value": key}
    others = [each for each in resource.get("identifier") or () if each != own]
    return {**resource, "identifier": [own, *others]}


def alike(made: Resource, held: Resource) -> tuple[Resource, Resource]:
    """Both without what does not count as a difference."""
    one, other = _aligned(_bare(made), _bare(held))
    return one, other


def _asked(mapping: Mapping[Any], resource: Resource, row: dict[str, Any]) -> Any:
    if mapping.reverse is None:
        return NoWay("no-way-back")
    try:
        told = mapping.reverse(resource, row)
    except Quarantine:
        raise
    except Exception as error:  # noqa: BLE001 - as in preparation: a bug is one edit's fate
        return NoWay("mapping-error", type(error).__name__)
    return NoWay(told.reason, skipped=True) if isinstance(told, Skip) else told


def _mapped(mapping: Mapping[Any], row: MappingOf[str, Any]) -> dict[str, Resource] | NoWay:
    """What a row maps to by token, if it can be mapped and is sound."""
    shown = preview(mapping, "", dict(row))
    if shown.problems:
        return NoWay(NOT_REPRESENTABLE, shown.problems[0])
    return {_own_token(each): each for each in shown.resources}


def _needed(
    mapping: Mapping[Any],
    row: MappingOf[str, Any],
    fields: dict[str, Any],
    made: dict[str, Resource],
) -> dict[str, Any]:
    """Those of the fields without which the resources would be others."""
    kept = {name: value for name, value in fields.items() if row.get(name) != value}
    for name in list(kept):
        without = {other: value for other, value in kept.items() if other != name}
        if _mapped(mapping, {**row, **without}) == made:
            kept = without
    return kept


def _own_token(resource: Resource) -> str:
    kind = str(resource["resourceType"])
    system = identifier_system(kind)
    values = [each for each in resource.get("identifier") or () if each.get("system") == system]
    return _token(kind, str(values[0].get("value")) if values else "")


def _token(kind: str, key: str) -> str:
    return token(kind, identifier_system(kind), key)


def _references(resource: Resource) -> tuple[tuple[str, str], ...]:
    return tuple(
        (path, token(each.resource_type, each.system, each.value))
        for path, each in references_in(resource)
    )


def _bare(resource: Resource) -> Resource:
    kept = {name: value for name, value in resource.items() if name not in ("id", "meta")}
    if (kept.get("text") or {}).get("status") == "generated":
        del kept["text"]
    labels = (resource.get("meta") or {}).get("security")
    return {**kept, "meta": {"security": labels}} if labels else kept


def _aligned(made: Any, held: Any) -> tuple[Any, Any]:
    """Concepts, quantities of whole numbers and displays made comparable, all the way down."""
    if isinstance(made, dict) and isinstance(held, dict):
        if "coding" in made and "coding" in held:
            made, held = _concepts(made, held)
        pairs = {name: _aligned(made[name], held[name]) for name in made if name in held}
        return (
            {name: pairs[name][0] if name in pairs else each for name, each in made.items()},
            {name: pairs[name][1] if name in pairs else each for name, each in held.items()},
        )
    if isinstance(made, list) and isinstance(held, list):
        both = [_aligned(*each) for each in zip(made, held, strict=False)]
        rest = len(both)
        return [each[0] for each in both] + made[rest:], [each[1] for each in both] + held[rest:]
    if isinstance(made, float) and made.is_integer():
        made = int(made)
    return made, int(held) if isinstance(held, float) and held.is_integer() else held


def _concepts(made: Resource, held: Resource) -> tuple[Resource, Resource]:
    """Without displays, without words that are only a display, and in one order.

    Without the source's own codings, too, where Medplum's form left them out and the standard ones
    tell the same.
    """
    shown = {each.get("display") for one in (made, held) for each in one["coding"]}
    local = any(_is_local(each) for each in held["coding"])
    standard = any(not _is_local(each) for each in made["coding"])

    def plain(concept: Resource) -> Resource:
        kept = [
            {name: value for name, value in each.items() if name != "display"}
            for each in concept["coding"]
            if local or not standard or not _is_local(each)
        ]
        kept.sort(key=lambda each: (str(each.get("system")), str(each.get("code"))))
        rest = {
            name: value
            for name, value in concept.items()
            if name != "coding" and not (name == "text" and value in shown)
        }
        return {**rest, "coding": kept}

    return plain(made), plain(held)


def _is_local(coding: Resource) -> bool:
    return str(coding.get("system", "")).startswith(f"{SOURCE_URI}/")
