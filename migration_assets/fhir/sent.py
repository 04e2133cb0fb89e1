"""FHIR that services send themselves: the mapping that passes it through, and what it must say.

Belongs here: what is left out of such a resource, how it names others, its key and change time.
Does not belong here: taking it in (``inbox``), or which of two claims on a resource counts
(``steps.handing_over``).

What a service sends of a type is the stream ``fhir/<Type>``; the row is the resource, its key the
value of the identifier that the mapping of the type gives the same record. Removal, load order and
lease are the mapping's own: both write the same resources.
"""

from datetime import UTC, datetime
from functools import partial
from typing import Any

from pydantic import model_validator

from migration_assets.fhir.identifiers import checked_key, identified_type, identifier_system
from migration_assets.fhir.references import ConditionalReference, parse_reference
from migration_assets.mapping import Mapping, Quarantined, Related, Resource, Row, Skip

PREFIX = "fhir/"
VERSION = "1.0.0"
_META_OF_THE_SERVER = ("versionId", "lastUpdated")
_LOGICAL = frozenset({"id", "extension", "type", "identifier", "display"})


class Sent(Row):
    """A resource as it was sent."""

    resource: dict[str, Any]

    @model_validator(mode="before")
    @classmethod
    def _whole(cls, row: Any) -> Any:
        return {"resource": row}


def sent_stream(kind: str) -> str:
    """The stream of what services send of a type."""
    return PREFIX + kind


def passthrough(mapping: Mapping[Any], kind: str) -> Mapping[Any]:
    """The mapping of what services send of ``kind``, which ``mapping`` makes as well."""
    return Mapping(
        stream=sent_stream(kind),
        row=Sent,
        resource_type=kind,
        build=partial(_built, kind),
        version=VERSION,
        step=mapping.step,
        after=mapping.after,
        removal=mapping.removal,
        back_references=mapping.back_references,
        create_only=mapping.create_only,
        owner=mapping.owner,
        marker=mapping.marker,
        beside=mapping,
    )


def passthroughs(mapping: Mapping[Any]) -> list[Mapping[Any]]:
    """Those of every type that ``mapping`` makes."""
    return [passthrough(mapping, kind) for kind in mapping.types]


def sent_key(resource: Resource, kind: str) -> str:
    """The key of a resource: the value of its one identifier in the source's system.

    Raises:
        Quarantined: there is none, or more than one, or it can be no key.
    """
    system = identifier_system(kind)
    listed = resource.get("identifier")
    found = [
        each.get("value")
        for each in (listed if isinstance(listed, list) else [])
        if isinstance(each, dict) and each.get("system") == system
    ]
    if not found or not isinstance(found[0], str):
        raise Quarantined("identifier-missing", f"{kind}.identifier")
    if len(found) > 1:
        raise Quarantined("identifier-ambiguous", f"{kind}.identifier")
    return checked_key(found[0], f"{kind}.identifier")


def sent_at(resource: Resource) -> datetime | None:
    """When the resource changed, by itself; None where it does not say, or not with its zone."""
    meta = resource.get("meta")
    text = meta.get("lastUpdated") if isinstance(meta, dict) else None
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    try:
        return None if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        return None


def changed_at(resource: Resource, moment: datetime) -> Resource:
    """The resource, saying itself when it changed: the same content later is another version."""
    meta = resource.get("meta")
    told = {**(meta if isinstance(meta, dict) else {}), "lastUpdated": moment.isoformat()}
    return {**resource, "meta": told}


def _built(kind: str, row: Row) -> Resource | Related | Skip:
    if not isinstance(row, Sent):
        raise TypeError("not a resource that was sent")
    made = {name: value for name, value in row.resource.items() if name != "id"}
    if made.get("resourceType") != kind:
        raise Quarantined("resource-of-another-type", "resourceType")
    meta = made.pop("meta", None)
    kept = (
        {name: value for name, value in meta.items() if name not in _META_OF_THE_SERVER}
        if isinstance(meta, dict)
        else {}
    )
    named = {name: _linked(value, f"{kind}.{name}") for name, value in made.items()}
    return {**named, "meta": kept} if kept else named


def _linked(value: Any, path: str) -> Any:
    """The same, with every reference in the one form that can be followed (``references``)."""
    if isinstance(value, list):
        return [_linked(each, f"{path}[{at}]") for at, each in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if isinstance(text := value.get("reference"), str):
        return {**value, "reference": _followed(text, path)}
    target = value.get("identifier")
    named = isinstance(target, dict) and value.keys() <= _LOGICAL
    system = str(target.get("system")) if named and isinstance(target, dict) else ""
    kind = identified_type(system)
    if kind is not None and isinstance(target, dict):
        key = target.get("value")
        if not isinstance(key, str):
            raise Quarantined("missing-reference", path)
        found = ConditionalReference(kind, system, checked_key(key, path))
        return {
            **{name: each for name, each in value.items() if name not in ("identifier", "type")},
            "reference": found.text,
        }
    return {name: _linked(each, f"{path}.{name}") for name, each in value.items()}


def _followed(text: str, path: str) -> str:
    """A reference within the resource, or by identifier: an id of a server is anybody's guess."""
    if text.startswith("#"):
        return text
    found = parse_reference(text)
    if found is None:
        raise Quarantined("reference-not-by-identifier", path)
    return found.text
