"""Resolving: what a submission refers to must be known, and what it claims must be its own.

Belongs here: references made literal from the manifest or from Medplum, units that must wait for
a target, identifiers that two units claim. Does not belong here: writing anything.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Protocol

from migration_assets.fhir.fingerprints import fingerprint
from migration_assets.fhir.references import (
    ConditionalReference,
    FoundReference,
    with_references,
    without_items,
)
from migration_assets.manifest import Manifest, Settlement, State, token
from migration_assets.medplum import Fhir, Member, find_by_identifier
from migration_assets.steps.preparation import Prepared, member_token, settled

AWAITING = "awaiting-reference"
"""Reason of a unit whose target is neither on account nor in Medplum; its arrival releases it."""


LOOKED_FOR = 10_000
"""Awaited targets looked for in Medplum per run: 20 points a thousand."""


class Known(Protocol):
    """What is on account of resources; ``Manifest``, or one with what a rehearsal would add."""

    def owners(self, tokens: Iterable[str]) -> dict[str, int]:
        """Which unit owns each token."""

    def known_ids(self, tokens: Iterable[str]) -> dict[str, str]:
        """Medplum ids by token."""


def without_collisions(
    manifest: Known, due: list[Prepared]
) -> tuple[list[Prepared], list[Settlement]]:
    """Hold back units whose identifier another unit owns: they would overwrite its record."""
    owner = manifest.owners(name for each in due for name in each.fingerprints)
    claimed: dict[str, int] = {}
    for each in due:
        mine = {target.token for target in each.unit.targets}
        for name in each.fingerprints:
            known = each.unit.id if name in mine else owner.get(name, each.unit.id)
            first = claimed.setdefault(name, known)
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


def release(manifest: Manifest, fhir: Fhir, stream: str) -> None:
    """Make units pending whose target has come: from us, or from whoever else writes that type."""
    manifest.release_awaiting(stream)
    waiting = manifest.awaited(stream, limit=LOOKED_FOR)
    literals: dict[ConditionalReference, str] = {}
    wanted = {ConditionalReference(*each.split("|", 2)): each for each in waiting}
    _look_up(fhir, list(wanted), literals)
    if literals:
        manifest.release_awaiting(stream, [wanted[each] for each in literals])


def resolve(
    manifest: Known, fhir: Fhir, due: list[Prepared]
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
    borrowed = {
        each: name for each, name in wanted.items() if each in literals and name not in known
    }
    ready: list[Prepared] = []
    for each, references in zip(due, outward, strict=True):
        missing = [found for found in references if found[1].target not in literals]
        hindrance = next((one for one in missing if not _may_follow(each, one)), None)
        if hindrance is not None:
            member, found = hindrance
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
            continue
        first_pass = _first_pass(each, missing, wanted) if missing else each
        if isinstance(first_pass, Settlement):
            held.append(first_pass)
        else:
            linked = _with_literals(first_pass, literals) if references else first_pass
            ready.append(_with_borrowed(linked, references, borrowed, literals))
    return ready, held


def _with_borrowed(
    prepared: Prepared,
    references: list[tuple[Member, FoundReference]],
    borrowed: dict[ConditionalReference, str],
    literals: dict[ConditionalReference, str],
) -> Prepared:
    """The same, with what it is linked to that is only known by search."""
    linked = {found.target for _member, found in references} & borrowed.keys()
    if not linked:
        return prepared
    ids = sorted((borrowed[each], literals[each].partition("/")[2]) for each in linked)
    return replace(prepared, borrowed=tuple(ids))


def _may_follow(prepared: Prepared, missing: tuple[Member, FoundReference]) -> bool:
    """Whether the resource may go out without this reference, and be completed later."""
    member, found = missing
    steps = (step for step in found.way if isinstance(step, str))
    return ".".join((member.resource_type, *steps)) in prepared.back_references


def _first_pass(
    prepared: Prepared,
    missing: list[tuple[Member, FoundReference]],
    wanted: dict[ConditionalReference, str],
) -> Prepared | Settlement:
    """The submission without what it still waits for; unchanged if Medplum has just that.

    Its fingerprints are those of what is sent, so that the second pass finds a difference.
    """
    awaiting = wanted[missing[0][1].target]
    held = {each.token: each for each in prepared.unit.targets if not each.deleted}
    fingerprints = dict(prepared.fingerprints)
    members: list[Member] = []
    for each in prepared.submission.members:
        ways = [found.way for member, found in missing if member.reference == each.reference]
        if each.body is None or not ways:
            members.append(each)
            continue
        body = without_items(each.body, ways)
        name = member_token(each)
        fingerprints[name] = fingerprint(body)
        known = held.get(name)
        if known is None or known.sent or known.fingerprint != fingerprints[name]:
            members.append(replace(each, body=body))
    if not members:
        unit, version = prepared.unit, prepared.mapping_version
        return settled(unit, State.UNCHANGED, version, awaiting=awaiting)
    return replace(
        prepared,
        submission=replace(prepared.submission, members=tuple(members)),
        fingerprints=fingerprints,
        awaiting=awaiting,
    )


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
    return replace(
        prepared,
        submission=replace(prepared.submission, members=members),
        named={member_token(each): prepared.inventory(each) for each in members},
    )
