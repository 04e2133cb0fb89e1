"""A tick looks on where that keeps no other sensor, and ends before Dagster would end it."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from migration_assets.defs.looking_on import Patience, look_on

QUIET = dg.SensorResult(skip_reason="nothing")
DUE = dg.SensorResult([dg.RunRequest()])


class Looks:
    """Sees a reason for a run at the look of that number; its clock passes while it sleeps."""

    def __init__(self, due: int = 0) -> None:
        self.due = due
        self.made = 0
        self.slept: list[float] = []

    def __call__(self) -> dg.SensorResult:
        """One look."""
        self.made += 1
        return DUE if self.made == self.due else QUIET

    def on(self, instance: dg.DagsterInstance, every: float = 2) -> dg.SensorResult:
        """One tick."""
        patience = Patience(monotonic=lambda: sum(self.slept), sleep=self.slept.append)
        return look_on(self, instance, every_seconds=every, patience=patience)


@pytest.fixture
def threaded(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """Sensors have threads of their own, as in the shipped dagster.yaml."""
    threads = {"sensors": {"use_threads": True, "num_workers": 2}}
    with dg.instance_for_test(overrides=threads, temp_dir=str(tmp_path)) as made:
        yield made


def test_a_change_between_two_ticks_of_the_daemon_is_seen_in_this_one(
    threaded: dg.DagsterInstance,
) -> None:
    """The daemon starts ticks five seconds apart at best, which was half of the way to Medplum."""
    looks = Looks(due=3)
    assert looks.on(threaded).run_requests
    assert looks.slept == [2, 2]


def test_a_quiet_tick_ends_just_before_the_daemon_starts_the_next(
    threaded: dg.DagsterInstance,
) -> None:
    """At ten seconds; a longer one would be waited for by whoever stops Dagster."""
    looks = Looks()
    assert not looks.on(threaded).run_requests
    assert looks.slept == [2] * 4


def test_a_source_is_asked_no_more_often_than_is_set(threaded: dg.DagsterInstance) -> None:
    looks = Looks()
    looks.on(threaded, every=60)
    assert (looks.made, looks.slept) == (1, [])


def test_a_tick_looks_once_where_other_sensors_wait_for_it() -> None:
    looks = Looks(due=2)
    with dg.DagsterInstance.ephemeral() as alone:
        assert not looks.on(alone).run_requests
    assert (looks.made, looks.slept) == (1, [])
