"""Two processes on one type: a stale lease is taken over, and who lost it spoils nothing.

Real processes, stopped (SIGSTOP) at named spots, overtaken and woken (SIGCONT). Hours pass on the
clock that each life is given, not on the wall.
"""

import signal
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from tempfile import TemporaryDirectory

import orjson
import pytest

from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets.manifest import Manifest
from migration_assets.mapping import Resource
from migration_assets.medplum.answers import DUPLICATE
from migration_assets.medplum.bundles import bundle_json
from migration_assets_tests.delivery.clinic import PERSONS, PLACES
from migration_assets_tests.resilience.nursery import Nursery, nursery
from migration_assets_tests.resilience.world import World, named, world

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform != "linux", reason="NO /proc: whether a process stands still"),
]


@pytest.fixture(scope="module")
def others(sandbox: Sandbox, lives: Nursery) -> Iterator[Nursery]:
    """Where the second process comes from; both have lived before, in a world now forgotten."""
    with nursery() as started, TemporaryDirectory() as folder:
        for each in (lives, started):
            url = f"sqlite:///{folder}/{id(each)}.db"
            with world(sandbox, url, seed="two") as made:
                each.live(made.life("window", warms=True))
        yield started


@pytest.fixture
def one(sandbox: Sandbox, manifest_url: str) -> Iterator[World]:
    with world(sandbox, manifest_url, seed="two") as made:
        yield made


@pytest.mark.parametrize(
    ("manifest_url", "spot", "at"),
    [
        ("sqlite", "answer", 4),
        ("sqlite", "request", 4),
        ("postgres", "request", 4),
        ("sqlite", "committed", 20),
    ],
    indirect=["manifest_url"],
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


@pytest.mark.parametrize("manifest_url", ["sqlite"], indirect=True)
def test_creates_that_leave_after_a_take_over_are_held_as_duplicates(
    one: World, lives: Nursery, others: Nursery
) -> None:
    """A plain POST that slept on its way looks at nothing: no check of ours can call it back.

    The next run finds both and writes to neither; whoever removes one redelivers the row.
    """
    one.exclusive = True
    lives.start(one.life("window", spot="request", at=4, fate=int(signal.SIGSTOP)))
    lives.stand_still()
    _whole(one, others)
    one.check()
    lives.wake()
    assert "took over" in lives.end().failed
    doubled = _doubled(one)
    assert len(doubled) == len(one.rows[PLACES])
    _whole(one, others)
    with closing(Manifest(one.manifest_url, clock=lambda: datetime.now(UTC))) as manifest:
        held = [(each.stream, each.reason, each.count) for each in manifest.exceptions()]
    assert held == [(PLACES, DUPLICATE, len(doubled))]
    assert _doubled(one) == doubled, "not one more, and none was chosen for a person"
    with closing(one.medplum()) as client:
        entries = [
            orjson.dumps(
                {
                    "request": {
                        "method": "DELETE",
                        "url": f"{each[0]['resourceType']}/{each[-1]['id']}",
                    }
                }
            )
            for each in doubled.values()
        ]
        client.post_bundle(bundle_json(entries), len(entries))
    assert not others.live(one.life("redeliver")).failed
    one.check()


def _doubled(one: World) -> dict[str, list[Resource]]:
    """What several resources carry the identifier of, the oldest first."""
    found: dict[str, list[Resource]] = {}
    for each in sorted(one.search(), key=lambda each: str(each["meta"]["lastUpdated"])):
        found.setdefault(named(each), []).append(each)
    return {name: each for name, each in found.items() if len(each) > 1}


def _whole(one: World, others: Nursery) -> None:
    ended = others.live(one.life("window"))
    assert not ended.failed, ended.failed
