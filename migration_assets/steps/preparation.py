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
from migration_assets.fhir.marking import marked
from migration_assets.fhir.references import (
    ConditionalReference,
    FoundReference,
    find_references,
    with_references,
)
from migration_assets.fhir.retirement import merged, put_away, retired
from migration_assets.fhir.validation import problems
from migration_assets.manifest import Settlement, State, Target, Unit, token
from migration_assets.manifest.landing import PAYLOAD_PURGED
from migration_assets.manifest.payload import PURGED
from migration_assets.mapping import (
    Mapping,
    Quarantined,
    Related,
    Removal,
    Resource,
    Skip,
    Unanswered,
)
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
    back_references: tuple[str, ...] = ()
    """Element paths that may wait for their target, as the mapping declares."""
    awaiting: str | None = None
    """Token of a back-reference's target, without which the submission goes out for now."""
    borrowed: tuple[tuple[str, str], ...] = ()
    """What it is linked to that nobody on account owns: token and Medplum id."""
    named: MappingOf[str, tuple[tuple[str, str], ...]] | None = None
    """By token, element paths of the references that were made literal, and what they lead to."""

    @cached_property
    def references(self) -> dict[ConditionalReference, list[FoundReference]]:
        """What each member refers to, found once."""
        return {
            each.reference: find_references(each.body) if each.body else []
            for each in self.submission.members
        }

    def inventory(self, member: Member) -> tuple[tuple[str, str], ...]:
        """What a member refers to, made literal or not: element path and token of the target."""
        if self.named is not None:
            return self.named.get(member_token(member), ())
        return tuple(
            (
                each.path(member.resource_type),
                token(each.target.resource_type, each.target.system, each.target.value),
            )
            for each in self.references.get(member.reference, ())
        )

    def prints(self, member: Member) -> frozenset[str]:
        """What to know a write by, should its answer get lost; nothing for a new resource.

        Nor what is on account already: a unit that is held again and again adds nothing to it.
        """
        if member.fhir_id is None:
            return frozenset()
        if member.deletes or member.body is None:
            return frozenset({DELETION}) - member.sent
        literals = {m.reference: f"{m.resource_type}/{m.fhir_id}" for m in self.submission.members}
        return frozenset({content_print(with_references(member.body, literals.get))}) - member.sent


@dataclass(frozen=True)
class Preview:
    """What a row became, for people to look at; nothing of it is recorded or sent."""

    key: str
    row: Any
    resources: tuple[Resource, ...]
    problems: tuple[str, ...]


def prepare(mapping: Mapping[Any], unit: Unit) -> Prepared | Settlement:
    """What is to become of one pending unit under ``mapping``.

    Raises:
        Unanswered: its Bot was not asked of this row.
    """
    try:
        return _removal(mapping, unit) if unit.deleted else _delivery(mapping, unit)
    except Quarantine as error:
        return settled(
            unit, State.QUARANTINED, mapping.version, reason=error.reason, field=error.field
        )
    except Unanswered:
        raise
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
    except Unanswered as error:
        return Preview(key, row, (), (f"unanswered: {error}",))
    except Exception as error:  # noqa: BLE001 - as in prepare
        return Preview(key, row, (), (f"mapping-error: {type(error).__name__}",))
    if isinstance(resources, Skip):
        return Preview(key, row, (), (f"skipped: {resources.reason}",))
    found = [f"{each.reason} at {each.path}" for one in resources for each in problems(one)]
    return Preview(key, row, resources, tuple(found))


def mapped(mapping: Mapping[Any], row: Any) -> tuple[Resource, ...]:
    """What a row maps to, for whoever compares rows; nothing where it cannot be mapped."""
    try:
        resources = _resources(mapping, row)
    except Exception:  # noqa: BLE001 - as in prepare: a bug in a mapping is one row's fate
        return ()
    return () if isinstance(resources, Skip) else resources


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
    return _compared(mapping, unit, _as_the_source_marks_them(unit, resources))


def _as_the_source_marks_them(unit: Unit, resources: tuple[Resource, ...]) -> tuple[Resource, ...]:
    """What stands beside the row: that it was put away, or that another stands for it now."""
    if unit.merged_into == unit.key:
        raise Quarantined("merged-into-itself")
    if unit.merged_into is not None:
        return merged(resources, unit.merged_into)
    return put_away(resources) if unit.archived else resources


def _compared(
    mapping: Mapping[Any], unit: Unit, resources: tuple[Resource, ...]
) -> Prepared | Settlement:
    """What of a unit's resources differs from what Medplum holds, once they are valid."""
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
        settled_once = mapping.create_only and sure
        if not settled_once and (
            known is None or not sure or known.fingerprint != fingerprints[name]
        ):
            members.append(_only_created(member) if mapping.create_only else member)
    # A resource this row no longer yields (a note taken back) is deleted with the same care.
    members += [_gone(each) for name, each in held.items() if name not in fingerprints]
    if not members:
        return settled(unit, State.UNCHANGED, mapping.version)
    return Prepared(
        unit,
        Submission(unit.id, tuple(members)),
        fingerprints,
        mapping.version,
        back_references=mapping.back_references,
    )


def _only_created(member: Member) -> Member:
    """Left as it is where it is found; nothing is believed to be there that we may have deleted.

    An unfinished deletion may have been carried out: it is looked for, and if it is gone it comes
    back under its id.
    """
    only = replace(member, create_only=True)
    if not member.sent:
        return only
    return replace(only, fhir_id=None, version_id=None, former_id=member.fhir_id)


def _removal(mapping: Mapping[Any], unit: Unit) -> Prepared | Settlement:
    """A row deleted at the source: what it owns in Medplum is deleted, or marked by policy."""
    if not unit.targets:
        return settled(unit, State.SKIPPED, mapping.version, reason="deleted-in-legacy")
    members = _all_gone(unit)
    if not members:
        return settled(unit, State.UNCHANGED, mapping.version, reason="deleted-in-legacy")
    if mapping.removal is Removal.DELETE:
        return Prepared(unit, Submission(unit.id, members), {}, mapping.version)
    # The row landed before its tombstone is kept: it still says what the resources hold.
    resources = _resources(mapping, unit.row)
    if isinstance(resources, Skip):
        return Prepared(unit, Submission(unit.id, members), {}, mapping.version)
    held = {each.token for each in unit.targets if not each.deleted}
    marked = retired(resources, mapping.removal)
    known = tuple(each for each in marked if member_token(_member(each, {})) in held)
    return _compared(mapping, unit, known)


def _all_gone(unit: Unit) -> tuple[Member, ...]:
    """Dependants first: a ClinicalImpression goes before its Encounter."""
    return tuple(_gone(each) for each in unit.targets if not each.deleted)[::-1]


def _resources(mapping: Mapping[Any], row: Any) -> tuple[Resource, ...] | Skip:
    if row is PURGED:
        raise Quarantined(PAYLOAD_PURGED)
    if not isinstance(row, dict):
        raise Quarantined("row-not-an-object")
    try:
        model = mapping.row.model_validate(row)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        raise Quarantined(
            f"row-{first['type'].replace('_', '-')}", ".".join(str(part) for part in first["loc"])
        ) from None
    answers = mapping.answers
    built = mapping.build(model) if answers is None else answers.answer(row)
    if isinstance(built, Skip):
        return built
    resources = built.resources if isinstance(built, Related) else (built,)
    return (
        tuple(marked(each, mapping.marker) for each in resources) if mapping.marker else resources
    )


def _member(resource: Resource, held: MappingOf[str, Target]) -> Member:
    kind = str(resource["resourceType"])
    system = identifier_system(kind)
    for each in resource.get("identifier") or ():
        if each.get("system") == system and each.get("value"):
            found = Member(kind, system, str(each["value"]), resource)
            known = held.get(member_token(found))
            return found if known is None else _at(known, found)
    raise Quarantined("identifier-missing", f"{kind}.identifier")


def _gone(target: Target) -> Member:
    kind, system, value = target.token.split("|", 2)
    return _at(target, Member(kind, system, value, None))


def _at(target: Target, member: Member) -> Member:
    """The member as what is known of it in Medplum; an edit counts once it is approved."""
    return replace(
        member,
        fhir_id=target.fhir_id,
        version_id=target.overwrites or target.version_id,
        sent=target.sent,
        overwrites=target.overwrites is not None,
    )


def own_token(resource: Resource) -> str:
    """The token of a resource by its own identifier; raises Quarantined where it has none."""
    return member_token(_member(resource, {}))


def member_token(member: Member) -> str:
    """The manifest's token of a member's target."""
    return token(member.resource_type, member.system, member.value)
