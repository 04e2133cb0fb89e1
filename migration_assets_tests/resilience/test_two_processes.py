"""Two processes on one type: a stale lease is taken over, and who lost it spoils nothing.

Real processes, stopped (SIGSTOP) at named spots, overtaken and woken (SIGCONT). Hours pass on the
clock that each life is given, not on the wall.
"""

import signal
import sys
from collections.abc import Iterator

import pytest

from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets_tests.delivery.clinic import PERSONS, PLACES
from migration_assets_tests.resilience.nursery import Nursery, nursery
from migration_assets_tests.resilience.world import World, world

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform != "linux", reason="NO /proc: whether a process stands still"),
]


@pytest.fixture(scope="module")
def others() -> Iterator[Nursery]:
    """Where the second process comes from."""
    with nursery() as started:
        yield started


@pytest.fixture
def one(sandbox: Sandbox, manifest_url: str) -> Iterator[World]:
    with world(sandbox, manifest_url, seed="two") as made:
        yield made


@pytest.mark.parametrize(
    ("spot", "at"),
    [("answer", 4), ("request", 4), ("committed", 20)],
)
def test_who_slept_through_a_take_over_spoils_nothing(
    one: World, lives: Nursery, others: Nursery, spot: str, at: int
) -> None:
    """Before the request is the one moment no check of ours can guard: it is mended afterwards."""
    lives.start(one.life("window", spot=spot, at=at, fate=int(signal.SIGSTOP)))
    lives.stand_still()
    _whole(one, others)
    for stream in (PLACES, PERSONS):
        for key in list(one.rows[stream]):
            one.put(stream, key)
    _whole(one, others)
    one.check()
    lives.wake()
    slept = lives.end()
    # Between two types a run holds nothing that could be taken from it, and goes on.
    assert "took over" in slept.failed if at == 4 else not slept.failed
    _whole(one, others)
    one.check()


def test_a_living_holder_is_not_overtaken_and_a_killed_one_is_when_its_lease_is_stale(
    one: World, lives: Nursery, others: Nursery
) -> None:
    first = one.life("window", spot="answer", at=4, fate=int(signal.SIGSTOP))
    lives.start(first)
    lives.stand_still()
    one.hours -= 1  # at the same hour
    early = others.live(one.life("window"))
    assert "only one run at a time may" in early.failed
    lives.wake()
    assert not lives.end().failed
    one.check()
    assert lives.live(one.life("window", spot="request", at=2)).killed
    assert not others.live(one.life("window")).failed
    one.check()


def _whole(one: World, others: Nursery) -> None:
    ended = others.live(one.life("window"))
    assert not ended.failed, ended.failed
