"""What Medplum ought to hold, by the row on account and its mapping, with references as delivered.

Belongs here: making it again from the account. Does not belong here: comparing it.

The account keeps a fingerprint of what Medplum last confirmed, not the content. Where the row and
the mapping still make that fingerprint, the content is known again, element by element; where
either has changed since, it is not, and nobody pretends.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from migration_assets.fhir.fingerprints import fingerprint
from migration_assets.fhir.references import (
    ConditionalReference,
    FoundReference,
    find_references,
    with_references,
    without_items,
)
from migration_assets.manifest import Manifest, Target, Unit, token
from migration_assets.manifest.reconciliations import Held
from migration_assets.mapping import Mapping, Resource
from migration_assets.preparation import Prepared, member_token, prepare
from migration_assets.reconciliation.asking import Asker


@dataclass(frozen=True)
class Expected:
    """A resource as it was delivered; ``resource`` has literal references.

    ``references`` are where they stand and what they lead to, ``Type/id``; None where the target
    is neither on account nor in Medplum.
    """

    resource: Resource
    references: tuple[tuple[FoundReference, str | None], ...]


class Expectations:
    """Makes what was delivered again; remembers nothing between pages."""

    def __init__(self, manifest: Manifest, asker: Asker, mapping: Mapping[Any]) -> None:
        self._manifest = manifest
        self._asker = asker
        self._mapping = mapping

    def of(self, held: Iterable[Held]) -> dict[str, Expected]:
        """What each of these was delivered as, by token; unknown ones are left out."""
        wanted = {each.token for each in held}
        symbolic: dict[str, tuple[Resource, list[FoundReference]]] = {}
        for unit in self._units(held):
            symbolic.update(_delivered(self._mapping, unit, wanted))
        literals = self._literals(
            found.target for _resource, references in symbolic.values() for found in references
        )
        return {
            name: Expected(
                with_references(resource, literals.get, references),
                tuple((each, literals.get(each.target)) for each in references),
            )
            for name, (resource, references) in symbolic.items()
        }

    def mentions(self, held: Iterable[Held]) -> dict[str, set[str]]:
        """Tokens that each unit's resources refer to, by the token of the resource held."""
        listed = list(held)
        by_unit = {unit.id: _references(self._mapping, unit) for unit in self._units(listed)}
        return {each.token: by_unit.get(each.unit_id, set()) for each in listed}

    def _units(self, held: Iterable[Held]) -> list[Unit]:
        numbers = sorted({each.unit_id for each in held if each.stream == self._mapping.stream})
        return [each.unit for each in self._manifest.remapping.settled(numbers)]

    def _literals(
        self, references: Iterable[ConditionalReference]
    ) -> dict[ConditionalReference, str]:
        """Where references lead: by the account, or else to the one resource Medplum has."""
        names = {each: token(each.resource_type, each.system, each.value) for each in references}
        known = self._manifest.known_ids(names.values())
        made = {
            each: f"{each.resource_type}/{known[name]}"
            for each, name in names.items()
            if name in known
        }
        elsewhere: dict[str, list[ConditionalReference]] = {}
        for each in names:
            if each not in made:
                elsewhere.setdefault(each.resource_type, []).append(each)
        for kind, some in elsewhere.items():
            found = self._asker.carrying(kind, [each.value for each in some])
            for each in some:
                if len(found[each.value]) == 1:
                    made[each] = f"{kind}/{found[each.value][0]['id']}"
        return made


def _made_anew(mapping: Mapping[Any], unit: Unit) -> Prepared | None:
    """All of a unit's resources, as if nothing of them were known to be unchanged."""
    held = tuple(
        replace(each, fingerprint=None, sent=frozenset())
        for each in unit.targets
        if not each.deleted
    )
    plain = replace(mapping, create_only=False)
    made = prepare(plain, replace(unit, targets=held))
    return made if isinstance(made, Prepared) else None


def _delivered(
    mapping: Mapping[Any], unit: Unit, wanted: set[str]
) -> dict[str, tuple[Resource, list[FoundReference]]]:
    """A unit's resources of which the account has the fingerprint, with what they refer to."""
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
        token(found.target.resource_type, found.target.system, found.target.value)
        for references in prepared.references.values()
        for found in references
    }
