"""A comparison's beginning and end, written down: what was asked, what it cost, what came of it.

Belongs here: the frame around every comparison. Does not belong here: comparing. One that is cut
off stays in the account without an end, so that nobody takes half of it for the whole.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from migration_assets.fhir.identifiers import identifier_system
from migration_assets.manifest import Manifest
from migration_assets.manifest.reconciliations import Reconciliation
from migration_assets.medplum.quota import SEARCH_POINTS
from migration_assets.reconciliation.asking import Asker, system_query
from migration_assets.reconciliation.findings import Checked, Comparison, examples


@dataclass
class Tally:
    """What is counted on the way: resources on account, those found, and what is no finding."""

    expected: int = 0
    found: int = 0
    notes: Counter[str] = field(default_factory=Counter)


def kept(
    manifest: Manifest,
    asker: Asker,
    begun: Reconciliation,
    clock: Callable[[], datetime],
    comparing: Callable[[int], Tally],
) -> Comparison:
    """Compare, and keep the evidence; ``comparing`` is told the comparison's number."""
    before = asker.searches
    number = manifest.reconciliations.begin(begun)
    tally = comparing(number)
    searches = asker.searches - before
    evidence = manifest.reconciliations.finish(
        replace(
            begun,
            id=number,
            finished_at=clock(),
            searches=searches,
            points=searches * SEARCH_POINTS,
            expected=tally.expected,
            found=tally.found,
            notes={name: number for name, number in tally.notes.items() if number},
        )
    )
    return Comparison(evidence, examples(manifest, evidence))


def begun(
    resource_type: str,
    checked: Checked,
    version: str,
    clock: Callable[[], datetime],
    scope: Mapping[str, Any] | None = None,
) -> Reconciliation:
    """The evidence of a comparison as it begins; within a scope identifiers are asked for."""
    parts = system_query(resource_type).items()
    whole = f"{resource_type}?" + "&".join(f"{name}={each}" for name, each in parts)
    each_one = f"{resource_type}?identifier={identifier_system(resource_type)}|<key>,…"
    return Reconciliation(
        id=0,
        resource_type=resource_type,
        checked=checked.value,
        scope=dict(scope or {}),
        query=each_one if scope else whole,
        mapping_version=version,
        started_at=clock(),
    )
