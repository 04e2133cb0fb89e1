"""Handing over: of what a mapping's rows and a service's own FHIR say, the newer counts.

Belongs here: which of two versions of one resource is delivered, and whose it is from then on. Does
not belong here: the SQL (``manifest.handovers``), or what services send (``fhir.sent``).

A resource may be claimed by a unit of its mapping's stream and by one of ``fhir/<Type>``, and by
nobody else: two rows of one stream that claim one identifier collide as ever. Whose version changed
later takes the resource over, with all that is known of it, before it is prepared: so it is
compared with what Medplum holds, and written over that. Of one moment, the legacy system's counts.
What is older than what was confirmed is never written: it is settled as unchanged where it says the
same, else skipped as ``superseded``. A deletion is a version like any other, and stays one: what
comes late and is older does not bring the resource back.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from migration_assets.fhir.identifiers import identifier_system
from migration_assets.fhir.sent import sent_stream
from migration_assets.manifest import Manifest, Settlement, State, Target, Unit, token
from migration_assets.manifest.handovers import Claim, Handover
from migration_assets.mapping import Mapping, Removal, Resource
from migration_assets.steps.preparation import (
    Prepared,
    mapped,
    member_token,
    own_token,
    prepare,
    settled,
)
from migration_assets.steps.transforming import recalled

SUPERSEDED = "superseded"
"""Reason of a unit whose resource a newer version of another stream was written to."""
NO_CONTENT = "deletion-without-content"
"""Reason of a deletion that is to be marked in a resource, of which nothing is on account."""

Made = Prepared | Settlement


@dataclass
class _Case:
    """A unit beside the claims of the other stream on its resources."""

    unit: Unit
    made: Made
    newer: dict[str, Claim] = field(default_factory=dict)
    older: dict[str, Claim] = field(default_factory=dict)


def prepare_claimed(
    manifest: Manifest, mapping: Mapping[Any], units: Sequence[Unit], *, writes: bool
) -> list[Made]:
    """``prepare`` of some units, each with what it takes over.

    Within the lease; without ``writes`` it is only looked at, and nothing passes.
    """
    made = [prepare(mapping, unit) for unit in units]
    if not _is_shared(manifest, mapping):
        return made
    cases = [_Case(*each) for each in zip(units, made, strict=True)]
    wanted = {case.unit.id: _wanted(mapping, case) for case in cases}
    removed = [case.unit.id for case in cases if case.unit.deleted and mapping.beside is None]
    for unit_id, tokens in manifest.handovers.tried(removed).items():
        wanted[unit_id] |= tokens
    claims = manifest.handovers.claims({name for some in wanted.values() for name in some})
    claimants = Counter(name for some in wanted.values() for name in some)
    for case in cases:
        for name in sorted(wanted[case.unit.id]):
            claim = claims.get(name)
            if claim is None or claim.unit_id == case.unit.id or claimants[name] > 1:
                continue
            if _is_sister(mapping, name, claim):
                (case.newer if _is_newer(mapping, case.unit, claim) else case.older)[name] = claim
    passed = [
        Handover(name, claim.unit_id, case.unit.id)
        for case in cases
        for name, claim in case.newer.items()
    ]
    if writes:
        manifest.handovers.hand_over(passed)
        manifest.handovers.bury(
            (
                case.unit.id,
                Target(name.partition("|")[0], name, deleted=True, as_of=case.unit.as_of),
            )
            for case in cases
            for name in wanted[case.unit.id]
            if case.unit.deleted and name not in claims
        )
    ended = [_ended(manifest, mapping, case) for case in cases]
    if writes:
        manifest.handovers.advance(_advanced(cases, ended))
    return ended


def _is_shared(manifest: Manifest, mapping: Mapping[Any]) -> bool:
    """Whether there is anybody to share with: where no service sends, nothing is asked."""
    if mapping.beside is not None:
        return True
    return bool(manifest.handovers.any_units([sent_stream(kind) for kind in mapping.types]))


def _is_sister(mapping: Mapping[Any], name: str, claim: Claim) -> bool:
    if mapping.beside is not None:
        return claim.stream == mapping.beside.stream
    return claim.stream == sent_stream(name.partition("|")[0])


def _is_newer(mapping: Mapping[Any], unit: Unit, claim: Claim) -> bool:
    """Whether a unit says something later than what was confirmed."""
    if claim.as_of is None or unit.as_of is None:
        return True  # nothing of it was ever confirmed
    if unit.as_of == claim.as_of:
        return mapping.beside is None
    return unit.as_of > claim.as_of


def _wanted(mapping: Mapping[Any], case: _Case) -> set[str]:
    """The resources a unit is about that it does not hold itself."""
    mine = {each.token for each in case.unit.targets if not each.deleted}
    if case.unit.deleted:
        return _tokens(mapping, case.unit) - mine
    if isinstance(case.made, Prepared):
        return set(case.made.fingerprints) - mine
    return set()


def _tokens(mapping: Mapping[Any], unit: Unit) -> set[str]:
    """What a deleted row had: by its key where a service sent it, else by its last living row."""
    if mapping.beside is not None:
        kind = mapping.resource_type
        return {token(kind, identifier_system(kind), unit.key)}
    return {own_token(each) for each in mapped(mapping, unit.row)}


def _ended(manifest: Manifest, mapping: Mapping[Any], case: _Case) -> Made:
    """What becomes of a unit, now that it is known what is its own."""
    made, unit = case.made, case.unit
    if case.newer:
        taken = {name: claim.target for name, claim in case.newer.items()}
        kept = [each for each in unit.targets if each.token not in taken]
        unit = replace(unit, targets=(*kept, *taken.values()))
        if unit.deleted and mapping.beside is not None and mapping.removal is not Removal.DELETE:
            row = _row_of(manifest, mapping.beside, case.newer)
            if row is None:
                return settled(unit, State.QUARANTINED, mapping.version, reason=NO_CONTENT)
            unit = replace(unit, row=row)
        case.unit = unit
        made = prepare(mapping, unit)
    if not case.older:
        return made
    return _without(mapping, unit, made, case.older)


def _row_of(manifest: Manifest, beside: Mapping[Any], taken: dict[str, Claim]) -> Resource | None:
    """The resource as the mapping's own row makes it, to be marked as deleted."""
    numbers = [claim.unit_id for claim in taken.values()]
    found = manifest.remapping.settled(numbers)
    beside = recalled(beside, manifest, [each.unit for each in found])
    for each in found:
        for resource in mapped(beside, each.unit.row):
            if own_token(resource) in taken:
                return resource
    return None


def _without(mapping: Mapping[Any], unit: Unit, made: Made, older: dict[str, Claim]) -> Made:
    """The same without the resources that say something newer already."""
    if unit.deleted and not isinstance(made, Prepared):
        return settled(unit, State.SKIPPED, mapping.version, reason=SUPERSEDED)
    if not isinstance(made, Prepared):
        return made
    differs = any(
        name in made.fingerprints and not _says_the_same(made.fingerprints[name], claim.target)
        for name, claim in older.items()
    )
    members = tuple(each for each in made.submission.members if member_token(each) not in older)
    if members:
        return replace(
            made,
            submission=replace(made.submission, members=members),
            fingerprints={n: each for n, each in made.fingerprints.items() if n not in older},
        )
    if differs:
        return settled(unit, State.SKIPPED, mapping.version, reason=SUPERSEDED)
    return settled(unit, State.UNCHANGED, mapping.version)


def _says_the_same(fingerprint: str, target: Target) -> bool:
    return not target.deleted and not target.sent and target.fingerprint == fingerprint


def _advanced(cases: Iterable[_Case], ended: Sequence[Made]) -> list[tuple[int, int]]:
    """What is settled without being sent says the same at a later moment."""
    return [
        (case.unit.id, case.unit.as_of)
        for case, made in zip(cases, ended, strict=True)
        if isinstance(made, Settlement)
        and (made.state is State.UNCHANGED or (case.unit.deleted and case.newer))
        and made.reason != SUPERSEDED
        and not case.older
        and case.unit.as_of is not None
    ]
