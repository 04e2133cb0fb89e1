"""`make bench`: run every benchmark, print its figures, write build/bench.json.

MIGRATION_BENCH_SCALE scales the sizes: 1 (the default) is a million rows for memory; 0.01 is a
smoke test. Names as arguments run only those.
"""

import os
import signal
import sys
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path

from migration_assets_tests.bench import (
    big_page,
    events,
    imports,
    in_dagster,
    kills,
    landing,
    on_servers,
    polling,
    reconcile,
    report,
    size,
    throughput,
    workers,
)
from migration_assets_tests.bench.figures import Figure, keep

OUT = Path("build/bench.json")

BENCHMARKS: dict[str, Callable[[float], Generator[Figure, None, None]]] = {
    "landing": landing.figures,
    "polling": polling.figures,
    "big_page": big_page.figures,
    "points": on_servers.points_figures,
    "quota": on_servers.quota_figures,
    "loaders": on_servers.loaders_figures,
    "throughput": throughput.figures,
    "reconcile": reconcile.figures,
    "report": report.figures,
    "size": size.figures,
    "imports": imports.figures,
    "latency": in_dagster.latency_figures,
    "celery": in_dagster.celery_figures,
    "events": events.figures,
    "backfill": in_dagster.backfill_figures,
    "workers": workers.figures,
    "kills": kills.figures,
}


def main(names: list[str], scale: float) -> None:
    """Run those named, or all; a figure that is already in the file is replaced."""
    unknown = set(names) - set(BENCHMARKS)
    if unknown:
        sys.exit(
            f"No benchmark called {', '.join(sorted(unknown))}; known: {', '.join(BENCHMARKS)}"
        )
    for name in names or BENCHMARKS:
        # Closed at once when interrupted: what was written to a server is removed then.
        with closing(BENCHMARKS[name](scale)) as figures:
            for figure in figures:
                print(figure, flush=True)  # noqa: T201 - a benchmark's whole purpose
                keep([figure], OUT)
    print(f"written to {OUT}", flush=True)  # noqa: T201 - as above


if __name__ == "__main__":
    # A SIGTERM ends it as Ctrl-C does: what was started and written for a figure is removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    main(sys.argv[1:], float(os.environ.get("MIGRATION_BENCH_SCALE", "1")))
