"""What it takes when there are millions of units: landing, the balance, the lists, the space.

200,000 units at scale 1; MIGRATION_BENCH_UNITS=10000000 for the real thing (15 GB of disk, an hour
on a busy machine), on SQLite and, where one answers, PostgreSQL. Queries are measured in a process
of their own, each three times, the median told (the first finds the disk's cache cold):

    python -m migration_assets_tests.bench.size URL
"""

import os
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from migration_assets.manifest import Manifest, Selection
from migration_assets.manifest.tallies import Dimension
from migration_assets_tests.bench.figures import Figure
from migration_assets_tests.bench.filling import RUNS, fill, row
from migration_assets_tests.bench.own_process import measured_apart, peak_mb, tell

POSTGRES = os.environ.get("MIGRATION_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432")
UNITS = 200_000
_PAGE = 500
_START = datetime(2020, 1, 1, tzinfo=UTC)
_BALANCES = ("balance", "by_window", "by_version", "by_run", "by_type")
_EXCEPTIONS = ("exceptions", "groups", "by_reason", "by_owner", "of_run", "redeliver_run")


@dataclass(frozen=True)
class _Row:
    """A row as the puller hands it over."""

    key: str
    row: dict[str, Any]
    changed_at: datetime
    deleted: bool = False
    problem: str | None = None
    archived: bool = False
    merged_into: str | None = None
    volatile: tuple[str, ...] = ()


def figures(scale: float) -> Generator[Figure, None, None]:
    """Landing first, then a full manifest, on each database in turn."""
    units = int(os.environ.get("MIGRATION_BENCH_UNITS") or max(1_000, UNITS * scale))
    size = f"{units // 1_000_000}m" if units >= 1_000_000 else f"{units // 1_000}k"
    worst, space = 0.0, 0.0
    for name, places in (("sqlite", _sqlite), ("postgres", _postgres)):
        with places() as url:
            if url is None:
                continue
            rate = landing_rate(url, max(1_000, int(50_000 * min(scale, 1))))
            goal = 20_000 if name == "sqlite" else None
            yield Figure(f"landing_rows_per_second_{name}", rate, "rows/s", least=goal)
        with places() as url:
            if url is None:
                continue
            started = time.perf_counter()
            fill(url, units)
            yield Figure(f"filling_seconds_{size}_{name}", time.perf_counter() - started, "s")
            found = measured_apart("size", url)
            yield from _told(found, size, name)
            worst = max(worst, *(found[each] for each in _BALANCES))
            space = max(space, found["bytes"] / units)
    yield Figure(f"balance_query_seconds_{size}", worst, "s", most=1)
    yield Figure("bytes_per_unit", space, "bytes")


def _told(found: dict[str, float], size: str, name: str) -> Iterator[Figure]:
    yield Figure(f"upgrade_seconds_{size}_{name}", found["upgrade"], "s")
    balance = max(found[each] for each in _BALANCES)
    yield Figure(f"balance_query_seconds_{size}_{name}", balance, "s", most=1)
    exceptions = {each: found[each] for each in _EXCEPTIONS}
    slowest = max(exceptions, key=lambda each: exceptions[each])
    yield Figure(
        f"exception_query_seconds_{size}_{name}", exceptions[slowest], "s", most=1, beside=slowest
    )
    rest = {
        each: seconds
        for each, seconds in found.items()
        if each not in {*_BALANCES, *_EXCEPTIONS, "upgrade", "bytes", "peak_mb", "units"}
    }
    told = ", ".join(f"{each} {seconds:.3f} s" for each, seconds in rest.items())
    yield Figure(f"other_query_seconds_{size}_{name}", max(rest.values()), "s", beside=told)
    yield Figure(f"query_peak_mb_{size}_{name}", found["peak_mb"], "MiB")
    yield Figure(f"bytes_per_unit_{name}", found["bytes"] / found["units"], "bytes")


def landing_rate(url: str, rows: int) -> float:
    """Rows a second that land for the first time, through the product's own door."""
    manifest = Manifest(url, clock=lambda: datetime.now(UTC))
    run = manifest.start_run("bench", pipeline_version="bench")
    made = [_Row(f"K{n}", row(n), _START + timedelta(minutes=n)) for n in range(rows)]
    started = time.perf_counter()
    for first in range(0, rows, _PAGE):
        manifest.land("patients", made[first : first + _PAGE], run_id=run, reopen=False)
    seconds = time.perf_counter() - started
    manifest.close()
    return rows / seconds


def measure(url: str) -> dict[str, float]:
    """Seconds of the upgrade and of every query, bytes, and this process's peak."""
    started = time.perf_counter()
    manifest = Manifest(url, clock=lambda: datetime.now(UTC))
    found = {"upgrade": time.perf_counter() - started}
    for name, ask in _questions(manifest).items():
        times = []
        for _ in range(3):
            started = time.perf_counter()
            ask()
            times.append(time.perf_counter() - started)
        found[name] = statistics.median(times)
    units = sum(each.eligible for each in manifest.balances().values())
    manifest.close()
    return found | {"units": units, "bytes": _bytes(url), "peak_mb": peak_mb()}


def _questions(manifest: Manifest) -> dict[str, Callable[[], object]]:
    decisions, tallies, history = manifest.decisions, manifest.tallies, manifest.history
    probe = [_Row(f"K{1_000_000_000 + n}", row(n), _START) for n in range(_PAGE)]
    run = str(RUNS // 2)
    key = manifest.landed_units("patients", limit=1)[0].key
    sweep = manifest.start_sweep("patients", run_id=1)
    return {
        "balance": manifest.balances,
        "by_window": lambda: tallies.by(Dimension.WINDOW),
        "by_version": lambda: tallies.by(Dimension.VERSION),
        "by_run": lambda: tallies.by(Dimension.RUN),
        "by_type": lambda: tallies.of_type("ClinicalImpression", "encounters"),
        "exceptions": manifest.exceptions,
        "groups": lambda: decisions.groups(Selection(open_only=True)),
        "by_reason": lambda: decisions.listed(Selection(reason="reason-1"), limit=20),
        "by_owner": lambda: decisions.listed(Selection(owner="team-1"), limit=20),
        "of_run": lambda: decisions.listed(Selection(run=run), limit=20),
        "redeliver_run": lambda: decisions.due(Selection(run=run)),
        "redeliver_key": lambda: manifest.landed_units("patients", limit=1, keys=[key]),
        "redeliver_reason": lambda: decisions.due(Selection(reason="reason-1")),
        "redeliver_stream": lambda: decisions.due(Selection(streams=("patients",))),
        "unseen": lambda: manifest.unseen("patients", probe),
        "pending": lambda: manifest.pending_units("observations", limit=_PAGE),
        "open_work": manifest.open_work,
        "absent": lambda: manifest.absent_units(sweep, limit=_PAGE),
        "count_absent": lambda: manifest.count_absent(sweep),
        "undo": lambda: history.units_written(RUNS // 2),
        "mark": lambda: manifest.high_water_mark("patients"),
    }


def _bytes(url: str) -> int:
    if url.startswith("sqlite"):
        path = Path(url.removeprefix("sqlite:///"))
        return sum(each.stat().st_size for each in path.parent.glob(path.name + "*"))
    with psycopg.connect(url) as connection:
        asked = "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r'"
        found = connection.execute(f"{asked} AND relnamespace = 'public'::regnamespace").fetchone()
    return int(found[0]) if found else 0


@contextmanager
def _sqlite() -> Iterator[str | None]:
    with tempfile.TemporaryDirectory() as folder:
        yield f"sqlite:///{folder}/manifest.db"


@contextmanager
def _postgres() -> Iterator[str | None]:
    name = f"migration_bench_{uuid.uuid4().hex}"
    try:
        admin = psycopg.connect(f"{POSTGRES}/postgres", autocommit=True, connect_timeout=5)
    except psycopg.OperationalError:
        print("No PostgreSQL answers: measured on SQLite alone.", file=sys.stderr)  # noqa: T201
        yield None
        return
    with admin:
        admin.execute(f"CREATE DATABASE {name}")
        try:
            yield f"{POSTGRES}/{name}"
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


if __name__ == "__main__":
    tell(measure(sys.argv[1]))
