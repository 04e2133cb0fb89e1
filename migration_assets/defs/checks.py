"""Checks: what is claimed of each type, and what mends a claim that fails.

Belongs here: claims as Dagster shows them, and those of every materialization. Does not belong
here: freshness (``freshness``), what Medplum has to be asked for (``reconciling``), or verdicts
(``claims``). Green means proved: where there was nothing to prove (a rehearsal, a subset, no
Medplum) a check warns, and says that nothing is claimed. Counts and reasons only.
"""

from collections import Counter
from typing import Any

import dagster as dg

from migration_assets.claims.on_account import Claim, accounted, exceptions_below
from migration_assets.counting import several
from migration_assets.defs.keys import asset_key
from migration_assets.fhir.sent import sent_stream
from migration_assets.manifest import Balance, Selection
from migration_assets.mapping import Mapping
from migration_assets.run import Run

ACCOUNTED = "every_row_accounted_for"
EXCEPTIONS = "exceptions_below_threshold"

_REASONS_SHOWN = 10


def check_specs(mapping: Mapping[Any]) -> list[dg.AssetCheckSpec]:
    """The claims that each materialization of the mapping's type is checked for."""
    key = asset_key(mapping.resource_type)
    return [
        dg.AssetCheckSpec(
            ACCOUNTED,
            asset=key,
            description="Every row on account is in exactly one state, and none is pending.",
        ),
        dg.AssetCheckSpec(
            EXCEPTIONS,
            asset=key,
            description="No more rows than MIGRATION_EXCEPTIONS_SHARE were quarantined or rejected "
            "without a person having accepted it.",
        ),
    ]


def of_materialization(
    mapping: Mapping[Any], run: Run, balance: Balance | None, *, dry: bool, subset: bool
) -> list[dg.AssetCheckResult]:
    """What the account says of a type after it was worked on."""
    standing = run.adoption.standing(mapping.resource_type)
    refusal, owned = standing.refusal, standing.owned_by_medplum
    if owned:
        refusal += _still_sent(mapping, run)
    if dry and not owned:
        refusal = "A dry run writes nothing: materialize without dry_run."
    elif run.fhir is None and not refusal:
        refusal = "No Medplum is set: set MEDPLUM_BASE_URL and the client, then materialize."
    kind = mapping.resource_type
    groups = run.manifest.decisions.groups(Selection(streams=(mapping.stream,), open_only=True))
    share = run.tolerance.share
    return [
        result(
            ACCOUNTED,
            kind,
            accounted(
                kind,
                balance,
                refusal=refusal,
                subset=subset,
                owned=owned,
                left_out=_left_out(mapping, run) if standing.cohorts else None,
            ),
        ),
        result(EXCEPTIONS, kind, exceptions_below(kind, groups, balance, share=share)),
    ]


def _still_sent(mapping: Mapping[Any], run: Run) -> str:
    """What services send of a type that Medplum owns: it stays on account, for people to see."""
    streams = [mapping.stream, *(sent_stream(kind) for kind in mapping.types)]
    waiting = run.manifest.inbox.waiting(streams)
    if not waiting:
        return ""
    events = several(waiting, "event that services sent stays", "events that services sent stay")
    return f" {events} on account, as edits of the legacy side: nothing of that is written."


def _left_out(mapping: Mapping[Any], run: Run) -> dict[str, int]:
    """Rows of cohorts that nothing is delivered of: whose they are, and that they were refused."""
    counts = run.manifest.cohorts.left_out(mapping.stream)
    return {f"{name or 'in no cohort'} ({reason})": n for (reason, name), n in counts.items()}


def result(name: str, resource_type: str, claim: Claim) -> dg.AssetCheckResult:
    """A claim as the outcome of a check."""
    return dg.AssetCheckResult(
        check_name=name,
        asset_key=asset_key(resource_type),
        passed=claim.holds,
        severity=severity(claim),
        description=claim.said,
        metadata=metadata(claim),
    )


def severity(claim: Claim) -> dg.AssetCheckSeverity:
    """How loud a claim is if it fails: what was left out on purpose alarms nobody."""
    return dg.AssetCheckSeverity.ERROR if claim.alarming else dg.AssetCheckSeverity.WARN


def metadata(claim: Claim) -> dict[str, Any]:
    """How many, what that rests on, for which reasons, and what mends it."""
    most = Counter(claim.reasons).most_common(_REASONS_SHOWN)
    return {
        **claim.counts,
        **{f"evidence/{name}": text for name, text in claim.evidence.items()},
        **{f"reason/{reason}": number for reason, number in most},
        "recovery": claim.mend or "none needed",
    }
