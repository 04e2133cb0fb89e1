"""One asset per FHIR type, made from its mapping.

Belongs here: the asset factory. A backfill, a materialization by hand and an incremental pull are
the same function; only their windows differ. Each finished window is yielded at once, so that the
UI shows it and a re-execution does only what is missing (dagster.md §2, rule 5). Does not belong
here: what is reported (``metadata``) and claimed (``checks``).
"""

import traceback
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import dagster as dg
from pydantic import Field

from migration_assets.connections import Connections
from migration_assets.defs.checks import check_specs
from migration_assets.defs.keys import asset_key, op_name, stream_key
from migration_assets.defs.metadata import Done, Meter, materialized, results
from migration_assets.defs.partitions import windows
from migration_assets.errors import MigrationError, Transient
from migration_assets.gates import refuse_to_start
from migration_assets.manifest import Landed
from migration_assets.manifest.subsets import Subset
from migration_assets.mapping import Mapping, Step
from migration_assets.pipeline import Worked, land, migrate
from migration_assets.run import Run, Way, Window
from migration_assets.sweeping import sweep

_STEP_TEXT = {
    Step.PROVIDERS: "Providers come first, so that clinical events can name them.",
    Step.ORGANIZATIONS: "Shared organizations: each practice.",
    Step.PATIENTS: "The record that everything clinical refers to.",
    Step.SNAPSHOT: "The clinicians' present snapshot: problems and medications.",
    Step.HISTORY: "The longitudinal history: encounters, vitals, labs.",
}


class PullConfig(dg.Config):
    """What the Launchpad and the backfill dialog may ask of a run."""

    incremental: bool = False
    """Pull only what changed since the high-water mark (what the sensor asks for)."""
    dry_run: bool = False
    """Land, map and validate, but write nothing to Medplum."""
    sweep: bool = False
    """Read the whole stream, whatever the partition, to find what was deleted at the source."""
    allow_missing: int | None = None
    """Rows that may be missing from a sweep, for once, after a person has looked."""
    remap: bool = False
    """Pull nothing: map landed rows again that another mapping version settled, send what differs.
    """
    limit: int | None = None
    """Deliver so many pending rows only; the others stay pending."""
    keys: list[str] = Field(default_factory=list)
    """Deliver the rows with these keys only."""
    sample: int | None = None
    """Deliver of a sample of so many rows only; which ones, the seed decides."""
    seed: int = 0
    """Another seed is another sample; the same is the same one every time."""

    @property
    def subset(self) -> Subset:
        """Which of the pending rows are delivered."""
        return Subset(limit=self.limit, keys=tuple(self.keys), sample=self.sample, seed=self.seed)


def legacy_stream(mapping: Mapping[Any]) -> dg.AssetSpec:
    """The legacy stream as an external asset: the root of the lineage."""
    return dg.AssetSpec(
        stream_key(mapping.stream),
        group_name="0_legacy",
        description=f"Rows of the legacy API's stream {mapping.stream}.",
        kinds={"rest"},
    )


def migration_asset(
    mapping: Mapping[Any],
    partitions: dg.TimeWindowPartitionsDefinition,
    upstream: Sequence[Mapping[Any]] = (),
) -> dg.AssetsDefinition:
    """The asset of a mapping's type, and of the types it writes in the same group.

    ``upstream`` make the types that it refers to.
    """

    @dg.multi_asset(
        name=op_name(mapping),
        specs=[_spec(mapping, each) for each in mapping.types],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        check_specs=check_specs(mapping),
        pool="legacy_api",
    )
    def _asset(
        context: dg.AssetExecutionContext,
        config: PullConfig,
        connections: dg.ResourceParam[Connections],
    ) -> Iterator[dg.AssetMaterialization | dg.MaterializeResult[Any]]:
        try:
            with connections.run(context.run.run_id, dry=config.dry_run) as run:
                due = _windows(context, config, mapping, partitions, connections, run)
                if any(each.way is Way.BACKFILL for each in due):
                    refuse_to_start(run, mapping, upstream)
                yield from _materialize(context, config, mapping, due, run, connections.clock)
        except MigrationError as error:
            # Our messages say what to do and hold no patient data; the traceback adds nothing.
            raise dg.Failure(
                description=str(error), allow_retries=isinstance(error, Transient)
            ) from None
        except Exception as error:  # noqa: BLE001 - its text may quote a row: only its kind goes on
            frames = "".join(traceback.format_tb(error.__traceback__))
            raise dg.Failure(
                description=f"Migrating {mapping.resource_type} met an unexpected "
                f"{type(error).__name__}; what it says is left out, it may name a patient. What "
                f"was committed is kept. Report where it happened:\n{frames}"
            ) from None

    return _asset


def _spec(mapping: Mapping[Any], resource_type: str) -> dg.AssetSpec:
    related = resource_type != mapping.resource_type
    group = f" Written together with its {mapping.resource_type}, or not at all." if related else ""
    return dg.AssetSpec(
        asset_key(resource_type),
        deps=[stream_key(mapping.stream), *(asset_key(each) for each in mapping.after)],
        group_name=f"step_{mapping.step.value}",
        description=(
            f"{resource_type} resources in Medplum, from the legacy stream {mapping.stream}."
            f"{group} {_STEP_TEXT[mapping.step]}"
        ),
        kinds={"python", "fhir", "medplum"},
        owners=["team:migration"],
        tags={"fhir/resource": resource_type.lower(), "mapping/version": mapping.version},
        metadata={"stream": mapping.stream, "mapping_version": mapping.version},
    )


def _materialize(
    context: dg.AssetExecutionContext,
    config: PullConfig,
    mapping: Mapping[Any],
    due: Sequence[Window],
    run: Run,
    clock: Callable[[], datetime],
) -> Iterator[dg.AssetMaterialization | dg.MaterializeResult[Any]]:
    standing = run.adoption.standing(mapping.resource_type)
    if standing.refusal:
        context.log.warning("%s: %s", mapping.resource_type, standing.refusal)
    done: Done | None = None
    meter = Meter(run)
    for window in due:
        if done is not None and not config.incremental:
            yield from materialized(context, mapping, done)
        landed, found = _land(run, mapping, window, config)
        # A limit is meant for the run, not for each window of it.
        later = not config.subset.is_everything and window is not due[-1]
        worked = Worked() if later else migrate(run, mapping, config.subset)
        before = done if config.incremental else None
        done = Done(window, landed, worked, meter.read(), found).after(before)
        context.log.info(
            "%s %s: %d rows pulled, %d settled",
            mapping.resource_type,
            window.partition or "since the mark",
            landed.rows,
            sum(worked.by_state.values()),
        )
    yield from results(
        context,
        mapping,
        run,
        done,
        now=clock(),
        dry=config.dry_run,
        subset=not config.subset.is_everything,
    )


def _land(
    run: Run, mapping: Mapping[Any], window: Window, config: PullConfig
) -> tuple[Landed, dict[str, int]]:
    """Pull the window, sweep the whole stream, or open again what another version mapped."""
    if window.way is Way.REMAP:
        reopened = run.manifest.remapping.reopen_outdated(mapping.stream, mapping.version)
        return Landed(), {"reopened": reopened}
    if window.way is not Way.SWEEP:
        return land(run, mapping, window), {}
    found = sweep(run, mapping, allow_missing=config.allow_missing, partition=window.partition)
    counts = {
        "absent": found.absent,
        "gone": found.gone,
        "awaiting_another_sweep": found.waiting,
        "hidden": found.hidden,
    }
    return found.landed, counts


def _windows(
    context: dg.AssetExecutionContext,
    config: PullConfig,
    mapping: Mapping[Any],
    partitions: dg.TimeWindowPartitionsDefinition,
    connections: Connections,
    run: Run,
) -> Sequence[Window]:
    """What this run has to pull; nothing where the phase says that Medplum owns the type."""
    if not run.adoption.standing(mapping.resource_type).may_pull:
        return []
    if config.remap:
        return [Window(None, None, way=Way.REMAP)]
    keys = list(context.partition_keys)
    described = connections.source().stream(mapping.stream)
    cursor = described.cursor
    if config.sweep:
        return [Window(None, None, way=Way.SWEEP)]
    if described.queue is not None:
        # A queue shows what changed since it was last read, whatever the window asked for.
        mark = run.manifest.high_water_mark(mapping.stream)
        partition = None if config.incremental else keys[-1]
        return [Window(mark, None, partition=partition, way=Way.INCREMENTAL)]
    if cursor is None:
        context.log.warning(
            "%s cannot filter by time: it is read as a whole, whatever the window.", mapping.stream
        )
        return [Window(None, None, partition=keys[-1], way=Way.SWEEP)]
    mark = run.manifest.high_water_mark(mapping.stream) if config.incremental else None
    lookback = timedelta(seconds=cursor.lookback_seconds)
    return windows(partitions, keys, now=connections.clock(), mark=mark, lookback=lookback)
