"""Resolving: what a submission refers to must be known, and what it claims must be its own.

Belongs here: references made literal from the manifest or from Medplum, units that must wait for
a target, identifiers that two units claim. Does not belong here: writing anything.
"""

from collections.abc import Iterator
from dataclasses import replace

from migration_assets.fhir.references import ConditionalReference, references_in, with_references
from migration_assets.manifest import Manifest, Settlement, State, token
from migration_assets.medplum import Fhir, find_by_identifier
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
    clear = [
        each for each in due if all(claimed[name] == each.unit.id for name in each.fingerprints)
    ]
    held = [each for each in due if each not in clear]
    return clear, [
        settled(each.unit, State.QUARANTINED, each.mapping_version, reason="identifier-collision")
        for each in held
    ]


def resolve(
    manifest: Manifest, fhir: Fhir, due: list[Prepared]
) -> tuple[list[Prepared], list[Settlement]]:
    """Make every reference literal, from the manifest or else from Medplum (design §4, §5).

    A unit whose target is in neither is settled as awaiting; the target's arrival releases it.
    """
    wanted: dict[ConditionalReference, str] = {}
    for each in due:
        for reference, _path in _outward(each):
            wanted[reference] = token(reference.resource_type, reference.system, reference.value)
    known = manifest.known_ids(wanted.values())
    literals = {
        reference: f"{reference.resource_type}/{known[name]}"
        for reference, name in wanted.items()
        if name in known
    }
    doubled = _look_up(fhir, [each for each in wanted if each not in literals], literals)
    ready: list[Prepared] = []
    held: list[Settlement] = []
    for each in due:
        missing = next(
            ((reference, path) for reference, path in _outward(each) if reference not in literals),
            None,
        )
        if missing is None:
            ready.append(_with_literals(each, literals))
            continue
        reference, path = missing
        twice = reference in doubled
        held.append(
            settled(
                each.unit,
                State.QUARANTINED,
                each.mapping_version,
                reason="duplicate-in-medplum" if twice else AWAITING,
                field=path,
                awaiting=None if twice else wanted[reference],
            )
        )
    return ready, held


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


def _outward(prepared: Prepared) -> Iterator[tuple[ConditionalReference, str]]:
    """References of a submission to resources outside its own group, with their paths."""
    own = {member.reference for member in prepared.submission.members}
    for member in prepared.submission.members:
        if member.body is not None:
            for path, reference in references_in(member.body):
                if reference not in own:
                    yield reference, path


def _with_literals(prepared: Prepared, literals: dict[ConditionalReference, str]) -> Prepared:
    members = tuple(
        replace(each, body=with_references(each.body, literals.get)) if each.body else each
        for each in prepared.submission.members
    )
    return replace(prepared, submission=replace(prepared.submission, members=members))
