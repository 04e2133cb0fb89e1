"""``build_definitions``: everything Dagster loads, assembled in one place.

Belongs here: assembly. Tests, the CLI and the demo swap parts by argument; nothing is opened.
"""

from collections.abc import Mapping as MappingOf
from collections.abc import Sequence
from typing import Any

import dagster as dg

from migration_assets.connections import Connections, mappings_of
from migration_assets.defs.assets import migration_asset
from migration_assets.defs.cutovers import cutover_job, cutover_schedule
from migration_assets.defs.following import change_sensor
from migration_assets.defs.freshness import freshness_check, freshness_sensor
from migration_assets.defs.inbox import inbox_job, inbox_sensor
from migration_assets.defs.incremental import incremental_job, nightly_schedule
from migration_assets.defs.partitions import change_time_partitions
from migration_assets.defs.pools import pool_name
from migration_assets.defs.purging import purge_job, purge_schedule
from migration_assets.defs.reconciling import (
    reconcile_job,
    reconcile_schedule,
    reconciling_check,
)
from migration_assets.defs.redelivery import redeliver_job
from migration_assets.defs.retries import owed_retries_sensor
from migration_assets.defs.specs import legacy_stream
from migration_assets.defs.sweeps import sweep_job, sweep_schedule
from migration_assets.defs.writing_back import (
    write_back_check,
    write_back_job,
    write_back_schedule,
)
from migration_assets.mapping import Mapping
from migration_assets.settings import Settings, read_settings


def build_definitions(
    *,
    settings: Settings | None = None,
    mappings: MappingOf[str, Mapping[Any]] | None = None,
    connections: Connections | None = None,
) -> dg.Definitions:
    """The definitions for these settings, mappings and connections; each has its real default.

    Raises:
        Permanent: a setting is wrong, or a mapping file is; names it.
    """
    settings = settings or (connections.settings if connections else read_settings())
    found = list((mappings if mappings is not None else mappings_of(settings)).values())
    partitions = change_time_partitions(settings)
    connections = connections or Connections(settings)
    pool = pool_name(connections)
    job, sweeping, reconciling = incremental_job(found), sweep_job(found), reconcile_job(found)
    purging, delivering = purge_job(found), inbox_job(found)
    cutting, bringing = cutover_job(found), write_back_job(found)
    return dg.Definitions(
        assets=[
            *(legacy_stream(each) for each in found),
            *(
                migration_asset(
                    each, partitions, _upstream(each, found), settings=settings, pool=pool
                )
                for each in found
            ),
        ],
        asset_checks=[
            *(freshness_check(each) for each in found),
            *(reconciling_check(each) for each in found),
            *(write_back_check(each) for each in found if each.reverse is not None),
        ],
        jobs=[
            job,
            bringing,
            sweeping,
            reconciling,
            cutting,
            redeliver_job(found),
            purging,
            delivering,
        ],
        sensors=[
            change_sensor(found, partitions, job, every_seconds=settings.poll_seconds),
            freshness_sensor(found),
            owed_retries_sensor(),
            inbox_sensor(found, running=settings.inbox_tokens is not None),
        ],
        schedules=[
            nightly_schedule(found, partitions, job),
            sweep_schedule(found, partitions, sweeping),
            reconcile_schedule(found, reconciling),
            purge_schedule(purging),
            write_back_schedule(found, bringing),
            cutover_schedule(cutting),
        ],
        resources={"connections": connections},
        executor=dg.in_process_executor,
    )


def _upstream(mapping: Mapping[Any], mappings: Sequence[Mapping[Any]]) -> list[Mapping[Any]]:
    """What makes the types that a mapping's resources refer to."""
    return [each for each in mappings if set(each.types) & set(mapping.after)]
