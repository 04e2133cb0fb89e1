"""Freshness: whether each type is as current as it should be, by a lag and not by the last run.

Belongs here: the check, and the sensor that evaluates it without a run. Does not belong here: what
counts as fresh (``claims``). Dagster's own freshness policies look at the last materialization: a
quiet source would go stale, and a backfill of an old month would look fresh (dagster.md §1).
"""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from migration_assets.claims.on_account import Claim, fresh, nothing_claimed
from migration_assets.connections import Connections
from migration_assets.defs.checks import metadata, result, severity
from migration_assets.defs.failing import shown_safely
from migration_assets.defs.keys import asset_key
from migration_assets.errors import MigrationError
from migration_assets.manifest import Manifest
from migration_assets.mapping import Mapping
from migration_assets.steps.polling import current_until

FRESH = "mark_is_fresh"
_SECONDS = 300
"""Between two evaluations: a twelfth of what MIGRATION_FRESH_SECONDS allows by default."""


def freshness(
    connections: Connections, manifest: Manifest, mappings: Sequence[Mapping[Any]], now: datetime
) -> Iterator[tuple[Mapping[Any], Claim]]:
    """Whether each type's stream is current, by the account; the source is not asked."""
    adoption, pauses = connections.adoption(), manifest.pauses.standing()
    within = timedelta(seconds=connections.settings.fresh_seconds)
    for each in mappings:
        standing = adoption.standing(each.resource_type)
        if not standing.may_pull:
            yield each, nothing_claimed(standing.refusal)
            continue
        yield (
            each,
            fresh(
                each.resource_type,
                now=now,
                mark=manifest.high_water_mark(each.stream),
                current_until=current_until(manifest, each.stream),
                within=within,
                pause=pauses.get(each.stream),
            ),
        )


def freshness_check(mapping: Mapping[Any]) -> dg.AssetChecksDefinition:
    """The check of a type's freshness, to be asked for at any time."""

    @dg.multi_asset_check(
        name=f"freshness__{mapping.resource_type}",
        specs=[
            dg.AssetCheckSpec(
                FRESH,
                asset=asset_key(mapping.resource_type),
                description="The source was asked for news within MIGRATION_FRESH_SECONDS and all "
                "of it was read; what has no news is fresh as long as it is asked.",
            )
        ],
    )
    def _check(connections: dg.ResourceParam[Connections]) -> Iterator[dg.AssetCheckResult]:
        with connections.manifest() as manifest:
            for each, claim in freshness(connections, manifest, [mapping], connections.clock()):
                yield result(FRESH, each.resource_type, claim)

    return _check


def freshness_sensor(mappings: Sequence[Mapping[Any]]) -> dg.SensorDefinition:
    """The sensor that evaluates freshness: no run, and an event only where a verdict changed."""

    @dg.sensor(
        name="freshness",
        minimum_interval_seconds=_SECONDS,
        description="Says of each type whether its mark is fresh, whenever that changes. Asks the "
        "account only, and starts nothing.",
    )
    def _sensor(
        context: dg.SensorEvaluationContext, connections: dg.ResourceParam[Connections]
    ) -> dg.SensorResult | dg.SkipReason:
        before = json.loads(context.cursor or "{}")
        try:
            with (
                shown_safely("Looking whether every type is fresh"),
                connections.manifest() as manifest,
            ):
                claims = list(freshness(connections, manifest, mappings, connections.clock()))
        except MigrationError as error:
            return dg.SkipReason(str(error))
        verdicts = {each.resource_type: _verdict(claim) for each, claim in claims}
        changed = [
            _evaluation(mapping, claim)
            for mapping, claim in claims
            if before.get(mapping.resource_type) != verdicts[mapping.resource_type]
        ]
        late = [kind for kind, verdict in verdicts.items() if verdict == "late"]
        return dg.SensorResult(
            skip_reason=f"Late: {', '.join(late)}." if late else "No type is late.",
            asset_events=changed,
            cursor=json.dumps(verdicts),
        )

    return _sensor


def _verdict(claim: Claim) -> str:
    if claim.holds:
        return "fresh"
    return "late" if claim.alarming else "nothing claimed"


def _evaluation(mapping: Mapping[Any], claim: Claim) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=asset_key(mapping.resource_type),
        check_name=FRESH,
        passed=claim.holds,
        severity=severity(claim),
        description=claim.said,
        metadata=metadata(claim),
    )
