"""Resolving: what a submission refers to must be known, and what it claims must be its own.

Belongs here: references made literal from the manifest or from Medplum, units that must wait for
a target, identifiers that two units claim. Does not belong here: writing anything.
"""

from dataclasses import replace

from migration_assets.fhir.references import (
    ConditionalReference,
    FoundReference,
    with_references,
)
from migration_assets.manifest import Manifest, Settlement, State, token
from migration_assets.medplum import Fhir, Member, find_by_identifier
from migration_assets.preparation import Prepared, settled

AWAITING = "awaiting-reference"
"""Reason of a unit whose target is neither on account nor in Medplum; its arrival releases it."""


def without_collisions(
    manifest: Manifest, due: list[Prepared]
) -> tuple[list[Prepared], list[Settlement]]:
    """Hold back units whose identifier another unit owns: they would overwrite its record."""
    owner = manifest.owners(name for each in due for name in each.fingerprints)
    claimed: dict[str, int] = {}
    for each in due:
        for name in each.fingerprints:
            first = claimed.setdefault(name, owner.get(name, each.unit.id))
            if first != each.unit.id:
                claimed[name] = -1  # two claimants: neither is believed
    clear: list[Prepared] = []
    held: list[Settlement] = []
    for each in due:
        if all(claimed[name] == each.unit.id for name in each.fingerprints):
            clear.append(each)
        else:
            held.append(
                settled(
                    each.unit,
                    State.QUARANTINED,
                    each.mapping_version,
                    reason="identifier-collision",
                )
            )
    return clear, held


def resolve(
    manifest: Manifest, fhir: Fhir, due: list[Prepared]
) -> tuple[list[Prepared], list[Settlement]]:
    """Make every reference literal, from the manifest or else from Medplum (design §4, §5).

    A unit whose target is in neither is settled as awaiting; the target's arrival releases it.
    """
    due, held = _without_self_references(due)
    outward = [_outward(each) for each in due]
    wanted = {
        found.target: token(found.target.resource_type, found.target.system, found.target.value)
        for references in outward
        for _member, found in references
    }
    known = manifest.known_ids(wanted.values())
    literals = {
        reference: f"{reference.resource_type}/{known[name]}"
        for reference, name in wanted.items()
        if name in known
    }
    doubled = _look_up(fhir, [each for each in wanted if each not in literals], literals)
    ready: list[Prepared] = []
    for each, references in zip(due, outward, strict=True):
        missing = next((found for found in references if found[1].target not in literals), None)
        if missing is None:
            ready.append(_with_literals(each, literals) if references else each)
            continue
        member, found = missing
        twice = found.target in doubled
        held.append(
            settled(
                each.unit,
                State.QUARANTINED,
                each.mapping_version,
                reason="duplicate-in-medplum" if twice else AWAITING,
                field=found.path(member.resource_type),
                awaiting=None if twice else wanted[found.target],
            )
        )
    return ready, held


def _without_self_references(
    due: list[Prepared],
) -> tuple[list[Prepared], list[Settlement]]:
    """Hold back what refers to itself: an organization that is its own parent says nothing."""
    clear: list[Prepared] = []
    held: list[Settlement] = []
    for each in due:
        loops = [
            found.path(member.resource_type)
            for member in each.submission.members
            for found in each.references[member.reference]
            if found.target == member.reference
        ]
        if not loops:
            clear.append(each)
            continue
        held.append(
            settled(
                each.unit,
                State.QUARANTINED,
                each.mapping_version,
                reason="refers-to-itself",
                field=loops[0],
            )
        )
    return clear, held


def _look_up(
    fhir: Fhir, unknown: list[ConditionalReference], literals: dict[ConditionalReference, str]
) -> set[ConditionalReference]:
    """Add to ``literals`` what Medplum holds although the manifest does not; returns doubles."""
    doubled: set[ConditionalReference] = set()
    for kind in sorted({each.resource_type for each in unknown}):
        same_kind = [each for each in unknown if each.resource_type == kind]
        found = find_by_identifier(fhir, kind, [(e.system, e.value) for e in same_kind])
        for each in same_kind:
            matches = found[each.system, each.value]
            if len(matches) == 1:
                literals[each] = f"{kind}/{matches[0]['id']}"
            elif matches:
                doubled.add(each)
    return doubled


def _outward(prepared: Prepared) -> list[tuple[Member, FoundReference]]:
    """References of a submission to resources outside its own group."""
    return [
        (member, found)
        for member in prepared.submission.members
        for found in prepared.references[member.reference]
        if found.target not in prepared.references
    ]


def _with_literals(
    prepared: Prepared,
    literals: dict[ConditionalReference, str],
) -> Prepared:
    members = tuple(
        replace(
            each,
            body=with_references(each.body, literals.get, prepared.references[each.reference]),
        )
        if each.body and prepared.references[each.reference]
        else each
        for each in prepared.submission.members
    )
    return replace(prepared, submission=replace(prepared.submission, members=members))
