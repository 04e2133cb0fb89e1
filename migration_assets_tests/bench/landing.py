"""What it costs to get a row on account: CPU of this process per landed row, and its floor.

Parse, hash, look for repeats, land into SQLite; no mapping. The floor is requests and orjson over
the same pages. Run in a process of its own:

    python -m migration_assets_tests.bench.landing PATIENTS
"""

import statistics
import sys
import time
from collections.abc import Generator

from migration_assets.mappings import discover
from migration_assets.pipeline import land
from migration_assets.run import Window
from migration_assets_tests.bench.clinic import founded, read_pages
from migration_assets_tests.bench.figures import Figure
from migration_assets_tests.bench.own_process import measured_apart, tell


def figures(scale: float) -> Generator[Figure, None, None]:
    """The median of three; of one at a small scale."""
    times = 3 if scale >= 1 else 1
    runs = [measured_apart("landing", str(max(10, int(3_000 * scale)))) for _ in range(times)]
    floor = statistics.median(each["floor_us_per_row"] for each in runs)
    ratio = statistics.median(each["us_per_row"] / each["floor_us_per_row"] for each in runs)
    yield Figure(
        "landing_cpu_us_per_row",
        statistics.median(each["us_per_row"] for each in runs),
        "µs",
        most=60,
        beside=f"floor, requests + orjson: {floor:.1f} µs; {ratio:.1f} times the floor",
    )
    yield Figure("landing_cpu_of_floor", ratio, "times")


def measure(patients: int) -> dict[str, float]:
    """Microseconds of CPU per row, landed for the first time, and the floor's."""
    with founded(patients) as place:
        run = place.run()
        started = time.process_time()
        rows = sum(land(run, each, Window(None, None)).rows for each in discover().values())
        landed = time.process_time()
        read = read_pages(place.clinic)
        ended = time.process_time()
    return {
        "rows": rows,
        "us_per_row": (landed - started) / rows * 1e6,
        "floor_us_per_row": (ended - landed) / read * 1e6,
    }


if __name__ == "__main__":
    tell(measure(int(sys.argv[1])))
