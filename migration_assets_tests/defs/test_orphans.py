"""Leases that a killed run left behind: the run that is tried in its place gets on."""

import inspect
from collections.abc import Iterator
from datetime import timedelta

import dagster as dg
import pytest

from migration_assets import sweeping
from migration_assets.defs.orphans import UNDER_WAY_SECONDS, free_what_the_dead_hold
from migration_assets.errors import Transient
from migration_assets.manifest import Manifest
from migration_assets.manifest.leases import Lease, take
from migration_assets.medplum.wire import TIMEOUT
from migration_assets_tests.conftest import Clock
from migration_assets_tests.scripted import PATIENTS


@dg.job
def anything() -> None:
    """Some run."""


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def dead(instance: dg.DagsterInstance, manifest: Manifest) -> str:
    """A run that was killed while it held the lease on Patient."""
    run = instance.create_run_for_job(anything)
    _taken(manifest, "Patient", run.run_id)
    instance.report_run_failed(run)
    return run.run_id


def _taken(manifest: Manifest, name: str, holder: str) -> None:
    """A lease that is never given back."""
    lease, now = Lease(name, holder, "1"), manifest._now()
    manifest._engine.again(lambda connection: take(connection, lease, now=now))


def _free(instance: dg.DagsterInstance, manifest: Manifest, clock: Clock) -> list[str]:
    said: list[str] = []

    def sleep(seconds: float) -> None:
        clock.now += timedelta(seconds=seconds)

    free_what_the_dead_hold(instance, manifest, PATIENTS, said.append, sleep)
    return said


def test_a_run_tried_again_is_not_kept_out_by_the_one_that_was_killed(
    instance: dg.DagsterInstance, manifest: Manifest, clock: Clock, dead: str
) -> None:
    """It is tried seconds later; the lease would go stale ten minutes later."""
    (said,) = _free(instance, manifest, clock)
    assert dead in said
    with manifest.lease("Patient", "the next"):
        pass


def test_a_killed_sweep_does_not_keep_the_next_one_out(
    instance: dg.DagsterInstance, manifest: Manifest, clock: Clock
) -> None:
    run = instance.create_run_for_job(anything)
    _taken(manifest, "sweep of patients", run.run_id)
    instance.report_run_failed(run)
    assert len(_free(instance, manifest, clock)) == 1
    with manifest.lease("sweep of patients", "the next"):
        pass
    # The name is written in two rooms.
    assert 'f"sweep of {mapping.stream}"' in inspect.getsource(sweeping)


def test_it_waits_until_nothing_that_the_dead_run_sent_can_be_under_way(
    instance: dg.DagsterInstance, manifest: Manifest, clock: Clock, dead: str
) -> None:
    """A bundle that Medplum still works on would be written a second time."""
    before = clock.now
    _free(instance, manifest, clock)
    assert clock.now - before >= timedelta(seconds=UNDER_WAY_SECONDS)
    assert sum(TIMEOUT) <= UNDER_WAY_SECONDS


@pytest.mark.parametrize("holder", ["a run", "migration redeliver"])
def test_who_may_be_alive_keeps_the_lease(
    instance: dg.DagsterInstance, manifest: Manifest, clock: Clock, holder: str
) -> None:
    """A run under way; and the command line, of which Dagster knows nothing."""
    if holder == "a run":
        holder = instance.create_run_for_job(anything).run_id
    _taken(manifest, "Patient", holder)
    assert _free(instance, manifest, clock) == []
    with pytest.raises(Transient, match="is doing it"), manifest.lease("Patient", "the next"):
        pass


def test_a_lease_taken_over_meanwhile_stays_with_who_took_it(
    instance: dg.DagsterInstance, manifest: Manifest, dead: str
) -> None:
    def somebody_is_quicker(_seconds: float) -> None:
        held = manifest.holders.of("Patient")
        assert held is not None
        manifest.holders.free(held)
        _taken(manifest, "Patient", "quicker")

    free_what_the_dead_hold(instance, manifest, PATIENTS, lambda _: None, somebody_is_quicker)
    held = manifest.holders.of("Patient")
    assert held is not None
    assert held.holder == "quicker"
