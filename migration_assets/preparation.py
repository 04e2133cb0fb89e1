"""Preparing: a pending unit becomes a submission for Medplum, or a settlement at once.

Belongs here: row model → mapping → validation → fingerprint, and which of a unit's resources need
sending. Does not belong here: SQL, HTTP, or the order in which things happen (``pipeline``).
No network and no clock: the same unit prepares the same way every time.
"""

from collections.abc import Mapping as MappingOf
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from migration_assets.errors import Quarantine
from migration_assets.fhir.fingerprints import fingerprint
from migration_assets.fhir.identifiers import identifier_system
from migration_assets.fhir.references import (
    ConditionalReference,
    FoundReference,
    find_references,
    with_references,
)
from migration_assets.fhir.validation import problems
from migration_assets.manifest import Settlement, State, Target, Unit, token
from migration_assets.mapping import Mapping, Quarantined, Related, Resource, Skip
from migration_assets.medplum import DELETION, Member, Submission, content_print


@dataclass(frozen=True)
class Prepared:
    """A unit that has something to send.

    ``fingerprints`` by token are of the symbolic content, before any reference is made literal;
    ``references`` are those of each member, by how others refer to it.
    """

    unit: Unit
    submission: Submission
    fingerprints: MappingOf[str, str]
    mapping_version: str
    left_out: str | None = None
    """Why a rule leaves the row out, when what it had in Medplum is to be deleted for that."""

    @cached_property
    def references(self) -> dict[ConditionalReference, list[FoundReference]]:
        """What each member refers to, found once."""
        return {
            each.reference: find_references(each.body) if each.body else []
            for each in self.submission.members
        }

    def prints(self, member: Member) -> frozenset[str]:
        """What to know a write by, should its answer get lost; nothing for a new resource."""
        if member.fhir_id is None:
            return frozenset()
        if member.body is None:
            return frozenset({DELETION})
        literals = {m.reference: f"{m.resource_type}/{m.fhir_id}" for m in self.submission.members}
        return frozenset({content_print(with_references(member.body, literals.get))})


@dataclass(frozen=True)
class Preview:
    """What a row became, for people to look at; nothing of it is recorded or sent."""

    key: str
    row: Any
    resources: tuple[Resource, ...]
    problems: tuple[str, ...]


def prepare(mapping: Mapping[Any], unit: Unit) -> Prepared | Settlement:
    """What is to become of one pending unit under ``mapping``."""
    try:
        return _removal(mapping, unit) if unit.deleted else _delivery(mapping, unit)
    except Quarantine as error:
        return settled(
            unit, State.QUARANTINED, mapping.version, reason=error.reason, field=error.field
        )
    except Exception as error:  # noqa: BLE001 - the one place: a mapping's bug is one row's fate
        return settled(
            unit,
            State.QUARANTINED,
            mapping.version,
            reason="mapping-error",
            field=type(error).__name__,
        )


def preview(mapping: Mapping[Any], key: str, row: Any) -> Preview:
    """Row beside resources beside problems; reasons and element paths, never an exception."""
    try:
        resources = _resources(mapping, row)
    except Quarantine as error:
        return Preview(key, row, (), (str(error),))
    except Exception as error:  # noqa: BLE001 - as in prepare
        return Preview(key, row, (), (f"mapping-error: {type(error).__name__}",))
    if isinstance(resources, Skip):
        return Preview(key, row, (), (f"skipped: {resources.reason}",))
    found = [f"{each.reason} at {each.path}" for one in resources for each in problems(one)]
    return Preview(key, row, resources, tuple(found))


def settled(
    unit: Unit,
    state: State,
    version: str,
    *,
    reason: str | None = None,
    field: str | None = None,
    awaiting: str | None = None,
) -> Settlement:
    """A settlement of ``unit`` without any attempt."""
    return Settlement(
        unit_id=unit.id,
        revision=unit.revision,
        state=state,
        reason=reason,
        field=field,
        awaiting=awaiting,
        mapping_version=version,
    )


def _delivery(mapping: Mapping[Any], unit: Unit) -> Prepared | Settlement:
    resources = _resources(mapping, unit.row)
    if isinstance(resources, Skip):
        held_still = _all_gone(unit)
        if not held_still:
            return settled(unit, State.SKIPPED, mapping.version, reason=resources.reason)
        # Left out now, but not before: what was written must not stay behind.
        return Prepared(
            unit, Submission(unit.id, held_still), {}, mapping.version, left_out=resources.reason
        )
    for resource in resources:
        for problem in problems(resource):
            raise Quarantined(problem.reason, problem.path)
    held = {each.token: each for each in unit.targets if not each.deleted}
    fingerprints: dict[str, str] = {}
    members: list[Member] = []
    for resource in resources:
        member = _member(resource, held)
        name = member_token(member)
        fingerprints[name] = fingerprint(resource)
        known = held.get(name)
        # Against an unfinished write nothing counts as unchanged: Medplum may hold that one.
        sure = known is not None and known.fhir_id is not None and not known.sent
        if known is None or not sure or known.fingerprint != fingerprints[name]:
            members.append(member)
    # A resource this row no longer yields (a note taken back) is deleted with the same care.
    members += [_gone(each) for name, each in held.items() if name not in fingerprints]
    if not members:
        return settled(unit, State.UNCHANGED, mapping.version)
    return Prepared(unit, Submission(unit.id, tuple(members)), fingerprints, mapping.version)


def _removal(mapping: Mapping[Any], unit: Unit) -> Prepared | Settlement:
    """A row deleted at the source: delete what it owns in Medplum, as far as anything is there."""
    if not unit.targets:
        return settled(unit, State.SKIPPED, mapping.version, reason="deleted-in-legacy")
    members = _all_gone(unit)
    if not members:
        return settled(unit, State.UNCHANGED, mapping.version, reason="deleted-in-legacy")
    return Prepared(unit, Submission(unit.id, members), {}, mapping.version)


def _all_gone(unit: Unit) -> tuple[Member, ...]:
    """Dependants first: a ClinicalImpression goes before its Encounter."""
    return tuple(_gone(each) for each in unit.targets if not each.deleted)[::-1]


def _resources(mapping: Mapping[Any], row: Any) -> tuple[Resource, ...] | Skip:
    if not isinstance(row, dict):
        raise Quarantined("row-not-an-object")
    try:
        model = mapping.row.model_validate(row)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        raise Quarantined(
            f"row-{first['type'].replace('_', '-')}", ".".join(str(part) for part in first["loc"])
        ) from None
    built = mapping.build(model)
    if isinstance(built, Skip):
        return built
    return built.resources if isinstance(built, Related) else (built,)


def _member(resource: Resource, held: MappingOf[str, Target]) -> Member:
    kind = str(resource["resourceType"])
    system = identifier_system(kind)
    for each in resource.get("identifier") or ():
        if each.get("system") == system and each.get("value"):
            found = Member(kind, system, str(each["value"]), resource)
            known = held.get(member_token(found))
            if known is None:
                return found
            return replace(
                found, fhir_id=known.fhir_id, version_id=known.version_id, sent=known.sent
            )
    raise Quarantined("identifier-missing", f"{kind}.identifier")


def _gone(target: Target) -> Member:
    kind, system, value = target.token.split("|", 2)
    return Member(kind, system, value, None, target.fhir_id, target.version_id)


def member_token(member: Member) -> str:
    """The manifest's token of a member's target."""
    return token(member.resource_type, member.system, member.value)
