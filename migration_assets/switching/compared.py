"""What comparisons with Medplum prove for a gate: the last one, the worst of late, a second look.

Belongs here: choosing the comparisons that speak of what is to be moved, and looking again at what
was written since. Does not belong here: comparing (``reconciliation``), or the verdict
(``adoption.gates``).
"""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from migration_assets.adoption.cohorts import Terms
from migration_assets.adoption.gates import Compared, Later
from migration_assets.claims.on_medplum import HELD, QUESTIONS, RESOLVE
from migration_assets.manifest import Manifest
from migration_assets.manifest.reconciliations import Reconciliation
from migration_assets.mapping import Mapping
from migration_assets.medplum import Fhir
from migration_assets.reconciliation.asking import Asker
from migration_assets.reconciliation.cohort import Cohort
from migration_assets.reconciliation.comparison import compare
from migration_assets.reconciliation.referenced import check_references

MOST_LOOKED_AT_AGAIN = 50_000
"""Where more was written since, a whole comparison is as cheap: 20 points a 1,000."""
_MARGIN = timedelta(minutes=15)
"""A write may be on account some minutes after its time: as long as a database was waited for."""
_LOOKED_AT = 500
_BY_NAME = {each.name: each for each in QUESTIONS}


def compared(
    manifest: Manifest, kind: str, begin: datetime, *, terms: Terms | None = None
) -> Compared:
    """The last comparison of a type, and the worst that ended at or after ``begin``.

    Of a cohort (``terms``) those count that covered it: of it alone, or of the whole type.
    """
    scopes: list[dict[str, Any]] = [{}] if terms is None else [{}, terms.as_json()]
    every = manifest.reconciliations.latest(resource_type=kind, limit=_LOOKED_AT)
    found = [e for e in every if e.finished_at is not None and dict(e.scope) in scopes]
    last, references = _latest(found, HELD), _latest(found, RESOLVE)
    options = "" if terms is None else terms.as_options()
    if last is None:
        return Compared(resource_type=kind, options=options)
    late = [each for each in found if each.finished_at and each.finished_at >= begin]
    worst = max(late, key=_share, default=last)
    return Compared(
        resource_type=kind,
        id=last.id,
        started_at=last.started_at,
        findings=sum(last.counts.values()),
        unresolved=None if references is None else sum(references.counts.values()),
        worst_findings=sum(worst.counts.values()),
        worst_of=max(worst.expected, worst.found),
        unsettled=last.notes.get("unsettled", 0),
        options=options,
    )


def looked_again(
    manifest: Manifest,
    fhir: Fhir,
    mapping: Mapping[Any],
    before: Compared,
    *,
    clock: Callable[[], datetime],
    terms: Terms | None = None,
) -> Later | None:
    """Search again for what was written since a comparison began; None where that is too much.

    Kept as evidence like every comparison. 40 points per 900 resources.
    """
    if before.started_at is None:
        return None
    since, kind = before.started_at - _MARGIN, before.resource_type
    if manifest.switching.written_since(kind, since) > MOST_LOOKED_AT_AGAIN:
        return None
    narrowed = terms or Terms()
    cohort = Cohort(
        resource_type=None if kind == mapping.resource_type else kind,
        stream=narrowed.stream,
        since=narrowed.since,
        until=narrowed.until,
        organization=narrowed.organization,
        written_since=since,
    )
    asker = Asker(fhir)
    held = compare(manifest, asker, mapping, cohort=cohort, clock=clock).evidence
    named = check_references(manifest, asker, mapping, cohort=cohort, clock=clock).evidence
    moving = held.notes.get("unsettled", 0) + named.notes.get("unsettled", 0)
    return Later(
        written=held.expected,
        id=held.id,
        findings=sum(held.counts.values()),
        unresolved=sum(named.counts.values()),
        unproved=max(moving, manifest.switching.unproved(kind)),
    )


def _latest(found: Iterable[Reconciliation], claim: str) -> Reconciliation | None:
    kinds = {each.value for each in _BY_NAME[claim].checked}
    return next((each for each in found if each.checked in kinds), None)


def _share(each: Reconciliation) -> float:
    return sum(each.counts.values()) / max(1, each.expected, each.found)
