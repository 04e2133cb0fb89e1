"""A migrating process on SQLite is killed at random points; the next run makes it whole."""

from pathlib import Path
from random import Random

import pytest

from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets_tests.resilience.killing import SEED, Killer, share
from migration_assets_tests.resilience.nursery import Nursery
from migration_assets_tests.resilience.world import world

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(600)]


@pytest.mark.parametrize("exclusive", [False, True], ids=["shared", "exclusive"])
def test_no_record_is_lost_or_doubled_by_a_kill(
    exclusive: bool, memory: Path, sandbox: Sandbox, lives: Nursery
) -> None:
    seed = f"{SEED} sqlite {exclusive}"
    url = f"sqlite:///{memory / 'manifest.db'}"
    with world(sandbox, url, seed=seed, exclusive=exclusive) as one:
        killer = Killer(one, lives, Random(seed))  # noqa: S311 - to be the same again
        killer.kill(share("sqlite"))
    assert killer.killed >= share("sqlite")
