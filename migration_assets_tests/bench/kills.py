"""How many kills of a real migrating process the account survives, the law checked in between.

    make bench: kills            200 at scale 1, on SQLite, half of them with each strategy

A kill counts once the next undisturbed run has made everything whole; the first that is not
survived ends the benchmark with the story that led to it.
"""

import tempfile
from collections.abc import Generator
from pathlib import Path
from random import Random

from migration_assets.demo.medplum_sandbox import start_sandbox
from migration_assets_tests.bench.figures import Figure
from migration_assets_tests.resilience.killing import Killer
from migration_assets_tests.resilience.nursery import nursery
from migration_assets_tests.resilience.world import world


def figures(scale: float) -> Generator[Figure, None, None]:
    """The kills that were survived."""
    times = max(2, int(100 * scale))
    survived = missed = 0
    with (
        start_sandbox(
            None,
            client_id="5d1f0f3c-7c55-4a5f-9d0a-6f2b7e1c9a11",
            client_secret="invented",
            quota_per_minute=1_000_000_000,
        ) as sandbox,
        nursery() as lives,
    ):
        for exclusive in (False, True):
            seed = f"bench {exclusive}"
            with tempfile.TemporaryDirectory() as folder:
                url = f"sqlite:///{Path(folder) / 'manifest.db'}"
                with world(sandbox, url, seed=seed, exclusive=exclusive) as one:
                    killer = Killer(one, lives, Random(seed))  # noqa: S311 - to be the same again
                    killer.kill(times)
            survived += killer.killed
            missed += killer.missed
    yield Figure(
        "kills_survived",
        survived,
        "kills of a real process",
        least=200 if scale >= 1 else None,
        beside=f"{missed} lives ended before their time came",
    )
