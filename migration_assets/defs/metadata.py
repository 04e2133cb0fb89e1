"""What a window and a run report to Dagster: events, and the counts that are plotted over time.

Belongs here: metadata, counts only. Does not belong here: verdicts (``checks``), anything of a row.
"""

from collections.abc import Iterator
from collections.abc import Mapping as MappingOf
from dataclasses import dataclass
from typing import Any

import dagster as dg

from migration_assets.defs.checks import accounted_for
from migration_assets.defs.keys import asset_key
from migration_assets.manifest import Landed, State
from migration_assets.mapping import Mapping
from migration_assets.pipeline import Worked
from migration_assets.run import Run, Window


@dataclass(frozen=True)
class Done:
    """One window of one type, done."""

    window: Window
    landed: Landed
    worked: Worked
    seconds: float
    found: MappingOf[str, int]
    """What a sweep found of absent rows, by name."""


def materialized(
    context: dg.AssetExecutionContext, mapping: Mapping[Any], done: Done
) -> Iterator[dg.AssetMaterialization]:
    """The window's own event; Dagster flushes it at the yield, log_event would not."""
    metadata = _metadata(done)
    context.add_asset_metadata(
        metadata, asset_key=asset_key(mapping.resource_type), partition_key=done.window.partition
    )
    for each in mapping.types:
        yield dg.AssetMaterialization(
            asset_key(each), partition=done.window.partition, metadata=metadata
        )


def _metadata(done: Done) -> dict[str, Any]:
    """Keys apart per way in: an incremental pull's counts must not blot out a window's."""
    way = done.window.way.value
    counts = {state.value: number for state, number in done.worked.by_state.items() if number}
    return {
        f"{way}/pulled": done.landed.rows,
        f"{way}/new_or_changed": done.landed.new + done.landed.changed,
        **{f"{way}/{name}": number for name, number in counts.items()},
        **{f"{way}/resources_{name}": n for name, n in done.worked.events.items()},
        **{f"{way}/{name}": number for name, number in done.found.items()},
        f"{way}/groups_not_atomic": done.worked.groups_apart,
        f"{way}/bundles": done.worked.bundles,
        f"{way}/seconds": round(done.seconds, 3),
    }


def results(
    context: dg.AssetExecutionContext,
    mapping: Mapping[Any],
    run: Run,
    done: Done | None,
    *,
    dry: bool,
    subset: bool,
) -> Iterator[dg.MaterializeResult[Any]]:
    """What the run ends with, for each type of the group: stock, mark, verdict."""
    balance = run.manifest.balances().get(mapping.stream)
    mark = run.manifest.high_water_mark(mapping.stream)
    standing = run.adoption.standing(mapping.resource_type)
    counts = balance.by_state if balance else dict.fromkeys(State, 0)
    metadata: dict[str, Any] = {
        "rows_held": balance.eligible if balance else 0,
        **{f"balance/{state.value}": number for state, number in counts.items()},
        "phase": standing.phase.value,
        "mark": dg.MetadataValue.timestamp(mark) if mark else "unset",
        **(_metadata(done) if done else {}),
    }
    # Pending rows are right in a rehearsal, and only there.
    rehearsing = dry or not standing.may_deliver
    settled = rehearsing or counts[State.PENDING] == 0
    accounted = (balance is None or balance.holds) and settled
    if done and done.window.partition:
        context.add_asset_metadata(
            metadata,
            asset_key=asset_key(mapping.resource_type),
            partition_key=done.window.partition,
        )
    for each in mapping.types:
        main = each == mapping.resource_type
        yield dg.MaterializeResult(
            asset_key=asset_key(each),
            metadata=metadata,
            check_results=[accounted_for(accounted, counts, subset=subset)] if main else [],
        )
