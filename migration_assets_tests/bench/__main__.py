"""`make bench`: run every benchmark, print its figures, write build/bench.json.

MIGRATION_BENCH_SCALE scales the sizes: 1 (the default) is a million rows for memory; 0.01 is a
smoke test.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

OUT = Path("build/bench.json")
ROWS_PER_PATIENT = 9.3  # of the demo's population; the figure uses the rows that were counted


def main() -> None:
    """Run all of it; a figure that is already in the file is replaced."""
    scale = float(os.environ.get("MIGRATION_BENCH_SCALE", "1"))
    figures: dict[str, float] = json.loads(OUT.read_text()) if OUT.exists() else {}
    figures |= _throughput(scale)
    figures |= _imports()
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n")
    _say(f"written to {OUT}")


def _throughput(scale: float) -> dict[str, float]:
    """Speed on a small clinic (the median of three), memory on a large one."""
    small = [_child("throughput", str(max(10, int(3_000 * scale)))) for _ in range(3)]
    speed = statistics.median(each["rows_per_second_per_core"] for each in small)
    ratio = statistics.median(each["ratio_to_floor"] for each in small)
    floor = statistics.median(each["floor_rows_per_second_per_core"] for each in small)
    _say(f"pull, land, map, validate, bundle: {speed:,.0f} rows/s/core (goal 3,000)")
    _say(f"  floor, requests + orjson alone:  {floor:,.0f} rows/s/core; ratio {ratio:.3f}")
    large = _child("throughput", str(max(20, int(1_000_000 / ROWS_PER_PATIENT * scale))))
    grown = large["peak_memory_mb"] - small[0]["peak_memory_mb"]
    _say(
        f"peak memory over {large['rows']:,.0f} rows: {large['peak_memory_mb']:,.0f} MB (goal "
        f"250), {grown:+,.0f} MB against {small[0]['rows']:,.0f} rows"
    )
    _say(f"  at {large['rows_per_second_per_core']:,.0f} rows/s/core")
    return {
        "rows_per_second_per_core": speed,
        "rows_per_second_per_core_of_floor": ratio,
        "rows_per_second_per_core_million_rows": large["rows_per_second_per_core"],
        "peak_memory_mb_million_rows": large["peak_memory_mb"],
        "peak_memory_rows": large["rows"],
    }


def _imports() -> dict[str, float]:
    """Import of the code location in a fresh interpreter; floor: importing Dagster alone."""
    ours = _seconds("import migration_assets.definitions")
    floor = _seconds("import dagster")
    _say(f"import of the code location: {ours:.2f} s (goal 3); dagster alone {floor:.2f} s")
    return {"import_seconds": ours, "import_seconds_dagster_alone": floor}


def _seconds(code: str) -> float:
    def once() -> float:
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - started

    once()
    return statistics.median(once() for _ in range(5))


def _child(module: str, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", f"migration_assets_tests.bench.{module}", *arguments]
    made = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    found: dict[str, Any] = json.loads(made.stdout)
    return found


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a benchmark's whole purpose


if __name__ == "__main__":
    main()
