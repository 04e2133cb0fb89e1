"""Import of the code location in a fresh interpreter; floor: importing Dagster alone.

Belongs here: what a Dagster process pays before it can do anything. Does not belong here: what an
import does.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Generator

from migration_assets_tests.bench.figures import Figure

_TIMES = 5


def figures(scale: float) -> Generator[Figure, None, None]:
    """The median of several; fewer of them at a small scale."""
    times = max(1, min(_TIMES, int(_TIMES * scale)))
    ours = _seconds("import migration_assets.definitions", times)
    floor = _seconds("import dagster", times)
    yield Figure("import_seconds", ours, "s", most=3, beside=f"dagster alone: {floor:.2f} s")
    yield Figure("import_seconds_dagster_alone", floor, "s")


def _seconds(code: str, times: int) -> float:
    def once() -> float:
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - started

    if times > 1:
        once()  # byte code is compiled, files are in memory
    return statistics.median(once() for _ in range(times))
