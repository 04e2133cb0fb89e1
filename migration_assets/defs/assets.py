"""One asset per FHIR type, made from its mapping.

Belongs here: the asset factory. A backfill, a materialization by hand and an incremental pull are
the same function; only their windows differ. Each finished window is yielded at once, so that the
UI shows it and a re-execution does only what is missing (dagster.md §2, rule 5). Does not belong
here: what there is to pull (``pulling``), what is reported (``metadata``) and claimed (``checks``).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import dagster as dg

from migration_assets.claims.gates import refuse_to_start
from migration_assets.connections import Connections
from migration_assets.defs.checks import check_specs
from migration_assets.defs.failing import failure
from migration_assets.defs.keys import asset_key, op_name
from migration_assets.defs.launch import PullConfig, launch
from migration_assets.defs.metadata import Done, Meter, materialized, results
from migration_assets.defs.orphans import free_what_the_dead_hold
from migration_assets.defs.pulling import Pulled, Pulling, otherwise, pulling
from migration_assets.defs.specs import type_spec
from migration_assets.manifest import Landed
from migration_assets.mapping import Mapping
from migration_assets.pipeline import Worked
from migration_assets.run import Run, Way, Window
from migration_assets.settings import Settings


def backfill_policy(settings: Settings) -> dg.BackfillPolicy:
    """One run for a whole backfill, or several of so many partitions, side by side."""
    each = settings.backfill_partitions_per_run
    return dg.BackfillPolicy.multi_run(each) if each else dg.BackfillPolicy.single_run()


def migration_asset(
    mapping: Mapping[Any],
    partitions: dg.TimeWindowPartitionsDefinition,
    upstream: Sequence[Mapping[Any]] = (),
    *,
    settings: Settings,
    pool: str,
) -> dg.AssetsDefinition:
    """The asset of a mapping's type, and of the types it writes in the same group.

    ``upstream`` make the types that it refers to. ``pool`` is that of the source's credential.
    """

    @dg.multi_asset(
        name=op_name(mapping),
        specs=[type_spec(mapping, each, code_url=settings.code_url) for each in mapping.types],
        partitions_def=partitions,
        backfill_policy=backfill_policy(settings),
        check_specs=check_specs(mapping),
        pool=pool,
    )
    def _asset(
        context: dg.AssetExecutionContext,
        config: PullConfig,
        connections: dg.ResourceParam[Connections],
    ) -> Iterator[dg.AssetMaterialization | dg.MaterializeResult[Any]]:
        try:
            pull = pulling(context, mapping, launch(config), connections)
            asking = replace(
                connections, asking=otherwise(mapping.stream, pull.asked, pull.described)
            )
            with asking.run(context.run.run_id, dry=config.dry_run) as opened:
                run = as_asked(opened, pull)
                free_what_the_dead_hold(context.instance, run.manifest, mapping, context.log.info)
                due = pull.windows(run, partitions, list(context.partition_keys), connections)
                if any(each.way is Way.BACKFILL for each in due):
                    refuse_to_start(run, mapping, upstream)
                yield from _materialize(context, pull, due, run, connections.clock)
        except Exception as error:  # noqa: BLE001 - an unexpected text may quote a row: left out
            raise failure(context, error, f"Migrating {mapping.resource_type}") from None

    return _asset


def as_asked(run: Run, pull: Pulling) -> Run:
    """The run with the strategy that was asked for, if one was."""
    if pull.asked.strategy is None:
        return run
    changed = run.adoption.with_strategy(pull.mapping.resource_type, pull.asked.strategy)
    return replace(run, adoption=changed)


def _materialize(
    context: dg.AssetExecutionContext,
    pull: Pulling,
    due: Sequence[Window],
    run: Run,
    clock: Callable[[], datetime],
) -> Iterator[dg.AssetMaterialization | dg.MaterializeResult[Any]]:
    mapping, asked = pull.mapping, pull.asked
    standing = run.adoption.standing(mapping.resource_type)
    for refusal in filter(None, (standing.refusal, standing.refused_cohorts)):
        context.log.warning("%s: %s", mapping.resource_type, refusal)
    finished = pull.finished(run, due)
    _say_finished(context, mapping, finished & {each.partition or "" for each in due})
    subset = asked.subset
    done: Done | None = None
    meter = Meter(run)
    for window in due:
        last = window is due[-1]
        before = window.partition in finished
        if done is not None and not asked.config.incremental:
            yield from materialized(context, mapping, done)
            done = None
        if before and not last:
            _note_finished(context, mapping, window)
            continue
        pulled = Pulled(Landed(), {"finished_before": 1}) if before else pull.land(run, window)
        subset = pulled.subset or subset
        # A limit is meant for the run, not for each window of it.
        later = not subset.is_everything and not last
        worked = Worked() if later or pulled.nothing else pull.deliver(run, subset)
        done = Done(window, pulled.landed, worked, meter.read(), pulled.found).after(done)
        context.log.info(
            "%s %s: %d rows pulled, %d settled",
            mapping.resource_type,
            window.partition or f"({window.way.value})",
            pulled.landed.rows,
            sum(worked.by_state.values()),
        )
    yield from results(
        context,
        mapping,
        run,
        done,
        now=clock(),
        dry=asked.config.dry_run,
        subset=not subset.is_everything,
    )


def _say_finished(
    context: dg.AssetExecutionContext, mapping: Mapping[Any], finished: set[str]
) -> None:
    if finished:
        context.log.warning(
            "%s: %d windows were pulled to their end by this run's earlier tries or by its "
            "backfill (%s to %s): not again. To pull them again, launch a new run over them.",
            mapping.resource_type,
            len(finished),
            min(finished),
            max(finished),
        )


def _note_finished(
    context: dg.AssetExecutionContext, mapping: Mapping[Any], window: Window
) -> None:
    """Have the run's last event of the partition say why it reports no numbers."""
    for each in mapping.types:
        context.add_asset_metadata(
            {f"{window.way.value}/finished_before": 1},
            asset_key=asset_key(each),
            partition_key=window.partition,
        )
