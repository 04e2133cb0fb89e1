"""Freshness: whether each type is as current as it should be, by a lag and not by the last run.

Belongs here: the check, and the sensor that evaluates it without a run. Does not belong here: what
counts as fresh (``claims``). Dagster's own freshness policies look at the last materialization: a
quiet source would go stale, and a backfill of an old month would look fresh (dagster.md §1).

The sensor is on by itself. It looks at the account and at nothing else, and it is what notices that
``legacy_changes`` was never turned on: an alarm with a switch of its own is off where that one is.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from migration_assets.claims.on_account import Claim, fresh, nothing_claimed
from migration_assets.connections import Connections
from migration_assets.defs.checks import metadata, result, severity
from migration_assets.defs.failing import shown_safely
from migration_assets.defs.keys import asset_key
from migration_assets.errors import MigrationError, Permanent, Transient
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
    within = _allowed(connections)
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
                within=within(each.stream),
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
                description="The source was asked for news within the stream's fresh_seconds, or "
                "MIGRATION_FRESH_SECONDS, and all of it was read; what has no news is fresh as "
                "long as it is asked.",
            )
        ],
    )
    def _check(connections: dg.ResourceParam[Connections]) -> Iterator[dg.AssetCheckResult]:
        try:
            with connections.manifest() as manifest:
                for each, claim in freshness(connections, manifest, [mapping], connections.clock()):
                    yield result(FRESH, each.resource_type, claim)
        except MigrationError as error:
            raise dg.Failure(
                description=str(error), allow_retries=isinstance(error, Transient)
            ) from None

    return _check


def freshness_sensor(mappings: Sequence[Mapping[Any]]) -> dg.SensorDefinition:
    """The sensor that evaluates freshness: no run, and an event only where a verdict changed."""

    @dg.sensor(
        name="freshness",
        minimum_interval_seconds=_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Says of each type whether its mark is fresh, whenever that changes. Asks the "
        "account only, and starts nothing.",
    )
    def _sensor(
        context: dg.SensorEvaluationContext, connections: dg.ResourceParam[Connections]
    ) -> dg.SensorResult | dg.SkipReason:
        if connections.settings.source is None:
            return dg.SkipReason("No source is set: there is nothing to be late.")
        before = _read(context.cursor)
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


def _allowed(connections: Connections) -> Callable[[str], timedelta]:
    """How late a stream may be: as its description says, else the setting."""
    usual = connections.settings.fresh_seconds
    source = connections.source() if connections.settings.source is not None else None

    def within(stream: str) -> timedelta:
        try:
            own = source.stream(stream).fresh_seconds if source is not None else None
        except Permanent:  # not described: whatever pulls it says so
            own = None
        return timedelta(seconds=own or usual)

    return within


def _read(cursor: str | None) -> dict[str, str]:
    """What was said last; nothing where the cursor was typed by hand."""
    try:
        said = json.loads(cursor or "{}")
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


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
