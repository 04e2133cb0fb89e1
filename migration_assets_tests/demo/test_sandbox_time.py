"""The sandbox's time: quota windows moved on, and a server made slow to measure against."""

import json
import re
from collections.abc import Iterator
from datetime import datetime

import pytest

from migration_assets.demo import medplum_sandbox
from migration_assets.demo.medplum_sandbox import Sandbox, SandboxOptions
from migration_assets.errors import Permanent
from migration_assets_tests.demo.replay import ask, bundle, put

pytestmark = pytest.mark.sandbox

QUOTA = 1_000
OPTIONS = SandboxOptions(
    client_id="4d1c5a1e-0000-4000-8000-00000000c11e",
    client_secret="a-secret-of-the-tests",
    quota_per_minute=QUOTA,
)
READ = "Patient/11111111-1111-4111-8111-111111111111"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with medplum_sandbox.launch(OPTIONS, None, medplum_sandbox.install_packages()) as running:
        yield running


def quota(sandbox: Sandbox) -> tuple[int, int]:
    """Points left and seconds to the window's end, after a read."""
    header = ask(sandbox, "GET", READ).headers["ratelimit"]
    found = re.search(r'"fhirInteractions";r=(\d+);t=(\d+)$', header)
    assert found
    return int(found[1]), int(found[2])


def test_a_wait_made_short_ends_where_the_long_one_would(sandbox: Sandbox) -> None:
    """Pacing is measured on it: half a minute must not refill, and a whole one must."""
    assert quota(sandbox) == (QUOTA - 1, 60)
    sandbox.advance(30)
    points, seconds = quota(sandbox)
    assert points == QUOTA - 2
    assert seconds <= 30
    sandbox.advance(31)
    assert quota(sandbox) == (QUOTA - 1, 60)


def test_time_goes_forward_only(sandbox: Sandbox) -> None:
    with pytest.raises(Permanent, match="not negative"):
        sandbox.advance(-1)


def test_a_slow_server_takes_its_time_for_every_write(sandbox: Sandbox) -> None:
    sandbox.change(write_ms=20)
    answer = json.loads(bundle(sandbox, "batch", put("1"), put("2"), put("3")).text)
    stored = [
        datetime.fromisoformat(each["resource"]["meta"]["lastUpdated"]) for each in answer["entry"]
    ]
    assert (stored[2] - stored[0]).total_seconds() >= 0.03
