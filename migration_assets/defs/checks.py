"""Checks: what is claimed of each type, and what mends it where the claim fails.

Belongs here: verdicts, with how many, which reasons and the command that mends them.
"""

from typing import Any

import dagster as dg

from migration_assets.defs.keys import asset_key
from migration_assets.manifest import State
from migration_assets.mapping import Mapping

ACCOUNTED = "every_row_accounted_for"


def check_specs(mapping: Mapping[Any]) -> list[dg.AssetCheckSpec]:
    """The claims that each materialization of the mapping's type is checked for."""
    return [
        dg.AssetCheckSpec(
            ACCOUNTED,
            asset=asset_key(mapping.resource_type),
            description="Every row on account is in exactly one state, and none is pending.",
        )
    ]


def accounted_for(
    accounted: bool,  # noqa: FBT001 - the check's own verdict
    counts: dict[State, int],
    *,
    subset: bool,
) -> dg.AssetCheckResult:
    """Whether every row on account has its outcome."""
    recovery = "run the asset again; see migration status"
    if subset:
        recovery = (
            "only a subset was asked for, the others stay pending: run without limit, keys, sample"
        )
    return dg.AssetCheckResult(
        check_name=ACCOUNTED,
        passed=accounted,
        # What a person left out on purpose is said, and alarms nobody.
        severity=dg.AssetCheckSeverity.WARN if subset else dg.AssetCheckSeverity.ERROR,
        metadata={
            "pending": counts[State.PENDING],
            "recovery": "none needed" if accounted else recovery,
        },
    )
