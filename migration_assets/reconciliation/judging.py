"""What a search by identifier and the account, side by side, amount to (pure).

Belongs here: the verdict over one identifier. Does not belong here: asking, or doubts: whoever
asks makes sure that neither side moved meanwhile.
"""

from collections.abc import Iterable

from migration_assets.manifest.reconciliations import Finding, Held
from migration_assets.mapping import Resource
from migration_assets.reconciliation.findings import Kind


def judge(token: str, held: Held | None, matches: Iterable[Resource]) -> list[Finding]:
    """Findings about who carries an identifier; none about content.

    ``MISSING`` still has to be told apart: gone, or without its identifier (``lost``).
    """
    ids = sorted(str(each["id"]) for each in matches)
    unit = held.unit_id if held is not None else None
    if held is None:
        return [
            *(Finding(Kind.UNEXPECTED, token, "not-on-account", each) for each in ids),
            *(Finding(Kind.DUPLICATE, token, "not-on-account", each) for each in ids[1:]),
        ]
    if held.deleted:
        return [
            Finding(
                Kind.STILL_FOUND,
                token,
                "same-id" if each == held.fhir_id else "another-id",
                each,
                unit_id=unit,
            )
            for each in ids
        ]
    if held.fhir_id is None:  # intended only: which of several is ours cannot be told yet
        return [
            Finding(Kind.DUPLICATE, token, "unconfirmed", each, unit_id=unit) for each in ids[1:]
        ]
    others = [each for each in ids if each != held.fhir_id]
    if held.fhir_id in ids:
        return [
            Finding(Kind.DUPLICATE, token, "another-id", each, expected=held.fhir_id, unit_id=unit)
            for each in others
        ]
    if not ids:
        return [Finding(Kind.MISSING, token, "not-found", held.fhir_id, unit_id=unit)]
    first, *surplus = (
        Finding(kind, token, "another-id", each, expected=held.fhir_id, unit_id=unit)
        for kind, each in zip(
            (Kind.OTHER_ID, *(Kind.DUPLICATE for _ in others)), others, strict=False
        )
    )
    return [first, *surplus]


def lost(finding: Finding) -> Finding:
    """The finding of a missing resource that is there, without the identifier we gave it."""
    return Finding(
        finding.kind, finding.token, "identifier-lost", finding.fhir_id, unit_id=finding.unit_id
    )
