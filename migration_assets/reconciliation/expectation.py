"""What Medplum ought to hold, by the row on account and its mapping, with references as delivered.

Belongs here: making it again from the account. Does not belong here: comparing it.

The account keeps a fingerprint of what Medplum last confirmed, not the content. Where the row and
the mapping still make that fingerprint, the content is known again, element by element; where
either has changed since, it is not, and nobody pretends.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from migration_assets.fhir.fingerprints import fingerprint
from migration_assets.fhir.references import (
    ConditionalReference,
    FoundReference,
    find_references,
    with_references,
    without_items,
)
from migration_assets.fhir.sent import passthroughs
from migration_assets.manifest import Manifest, Target, Unit, token
from migration_assets.manifest.inventories import Named
from migration_assets.manifest.reconciliations import Held
from migration_assets.manifest.records import chunked
from migration_assets.mapping import Mapping, Resource
from migration_assets.reconciliation.asking import Asker
from migration_assets.steps.preparation import Prepared, member_token, prepare
from migration_assets.steps.transforming import ask, bound


class Expectations:
    """Makes what was delivered again; remembers nothing between pages."""

    def __init__(self, manifest: Manifest, asker: Asker, mapping: Mapping[Any]) -> None:
        self._manifest = manifest
        self._asker = asker
        self._mapping = bound(mapping, manifest, None)  # what its Bot said is on account
        self._by_stream = {each.stream: each for each in (self._mapping, *passthroughs(mapping))}

    def of(self, held: Iterable[Held]) -> dict[str, Resource]:
        """What each of these was delivered as, by token; unknown ones are left out."""
        listed = list(held)
        wanted = {each.token for each in listed}
        symbolic: dict[str, tuple[Resource, list[FoundReference]]] = {}
        for unit in self._units(listed):
            symbolic.update(delivered_of(self._by_stream[unit.stream], unit, wanted))
        targets = {
            each.target: _token(each.target)
            for _resource, references in symbolic.values()
            for each in references
        }
        known = self.literals(targets.values())
        return {
            name: with_references(resource, lambda each: known.get(targets[each]), references)
            for name, (resource, references) in symbolic.items()
        }

    def references(self, held: Iterable[Held]) -> dict[str, Named]:
        """What each of these was delivered with, told from its row, by token."""
        listed = list(held)
        wanted = {each.token for each in listed}
        made: dict[str, Named] = {}
        for unit in self._units(listed):
            delivered = delivered_of(self._by_stream[unit.stream], unit, wanted)
            for name, (body, references) in delivered.items():
                kind = str(body["resourceType"])
                made[name] = tuple((each.path(kind), _token(each.target)) for each in references)
        return made

    def mentions(self, held: Iterable[Held]) -> dict[str, set[str]]:
        """Tokens that each resource refers to: as delivered, or else as its row has it now."""
        listed = list(held)
        known = self._manifest.reconciliations.delivered_references(each.id for each in listed)
        without = [each for each in listed if each.id not in known]
        by_unit = {
            unit.id: _references(self._by_stream[unit.stream], unit)
            for unit in self._units(without)
        }
        return {
            each.token: {name for _path, name in known[each.id]}
            if each.id in known
            else by_unit.get(each.unit_id, set())
            for each in listed
        }

    def literals(self, tokens: Iterable[str]) -> dict[str, str]:
        """Where references lead: by the account, or else to the one resource Medplum has."""
        names = set(tokens)
        made = {
            name: f"{name.split('|', 1)[0]}/{fhir_id}"
            for name, fhir_id in self._manifest.known_ids(names).items()
        }
        elsewhere: dict[str, dict[str, str]] = {}
        for name in names - made.keys():
            kind, _system, key = name.split("|", 2)
            elsewhere.setdefault(kind, {})[key] = name
        for kind, keys in elsewhere.items():
            for key, found in self._asker.carrying(kind, keys).items():
                if len(found) == 1:
                    made[keys[key]] = f"{kind}/{found[0]['id']}"
        return made

    def _units(self, held: Iterable[Held]) -> list[Unit]:
        numbers = sorted({each.unit_id for each in held if each.stream in self._by_stream})
        return [
            each.unit
            for some in chunked(numbers)
            for each in self._manifest.remapping.settled(some)
        ]


def _token(target: ConditionalReference) -> str:
    return token(target.resource_type, target.system, target.value)


def _made_anew(mapping: Mapping[Any], unit: Unit) -> Prepared | None:
    """All of a unit's resources, as if nothing of them were known to be unchanged."""
    held = tuple(
        replace(each, fingerprint=None, sent=frozenset())
        for each in unit.targets
        if not each.deleted
    )
    if ask(mapping, [unit]).unanswered:
        return None
    plain = replace(mapping, create_only=False)
    made = prepare(plain, replace(unit, targets=held))
    return made if isinstance(made, Prepared) else None


def delivered_of(
    mapping: Mapping[Any], unit: Unit, wanted: set[str]
) -> dict[str, tuple[Resource, list[FoundReference]]]:
    """A unit's resources of which the account has the fingerprint, with what they refer to.

    By token; references are still conditional, as a mapping writes them.
    """
    known = {each.token: each for each in unit.targets if each.token in wanted and not each.deleted}
    if mapping.create_only or not known:  # what was there already, from whomever, was left alone
        return {}
    prepared = _made_anew(mapping, unit)
    if prepared is None:
        return {}
    made: dict[str, tuple[Resource, list[FoundReference]]] = {}
    for member in prepared.submission.members:
        target = known.get(member_token(member))
        if target is not None and member.body is not None:
            body = _as_confirmed(member.body, prepared, target)
            if body is not None:
                made[target.token] = (body, find_references(body))
    return made


def _as_confirmed(body: Resource, prepared: Prepared, target: Target) -> Resource | None:
    """The body whose fingerprint Medplum confirmed: whole, or without its back-references."""
    if prepared.fingerprints.get(target.token) == target.fingerprint:
        return body
    kind = str(body["resourceType"])
    ways = [
        each.way
        for each in find_references(body)
        if ".".join((kind, *(step for step in each.way if isinstance(step, str))))
        in prepared.back_references
    ]
    first_pass = without_items(body, ways) if ways else body
    return first_pass if fingerprint(first_pass) == target.fingerprint else None


def _references(mapping: Mapping[Any], unit: Unit) -> set[str]:
    prepared = _made_anew(mapping, unit)
    if prepared is None:
        return set()
    return {
        _token(found.target) for references in prepared.references.values() for found in references
    }
