"""Leases of runs that Dagster knows to have ended: freed as soon as that is safe.

Belongs here: asking Dagster whether a lease's holder still runs. Does not belong here: leases
themselves (``manifest.leases``), or waiting for who lives (``pulling``). A run worker that was
killed gives nothing back. Dagster tries its run again within seconds, and that try would wait ten
minutes for the lease to go stale, with a place in the queue and a pool's slot in its hands.
"""

import time
from collections.abc import Callable
from typing import Any

import dagster as dg

from migration_assets.manifest import Manifest
from migration_assets.mapping import Mapping

UNDER_WAY_SECONDS = 130.0
"""Medplum works at most so long on what a dead run sent: the client's time-outs (medplum.wire). A
lease is renewed before each bundle, so this counts from its last sign of life."""


def free_what_the_dead_hold(
    instance: dg.DagsterInstance,
    manifest: Manifest,
    mapping: Mapping[Any],
    say: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Free the leases on a mapping's type and stream whose holders are runs that ended.

    Waits until nothing that they sent can be under way. Another's lease is left alone.
    """
    for name in (mapping.resource_type, f"sweep of {mapping.stream}"):
        held = manifest.holders.of(name)
        if held is None or not _ended(instance, held.holder):
            continue
        wait = UNDER_WAY_SECONDS - held.silent_seconds
        if wait > 0:
            say(
                f"Run {held.holder} ended without giving back {name}: waiting {wait:.0f} s until "
                "nothing that it sent can be under way."
            )
            sleep(wait)
        manifest.holders.free(held)


def _ended(instance: dg.DagsterInstance, holder: str) -> bool:
    """Whether a lease's holder is a run of ours that is over; what else it may be, is unknown."""
    run = instance.get_run_by_id(holder)
    return run is not None and run.is_finished
