"""The whole way of a row against a target that takes no time, and its floor.

Pull over HTTP → land → map → validate → bundle, on one core: rows per second of this process's
CPU. The clinic's server runs in its own process; the floor (requests and orjson over the same
pages, nothing else) is measured in the same run.

    python -m migration_assets_tests.bench.throughput PATIENTS

prints one JSON object; run in a process of its own, so that its peak memory is its own.
"""

import statistics
import sys
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any

from migration_assets.mappings import discover
from migration_assets.medplum import Pacer
from migration_assets.pipeline import land, migrate
from migration_assets.run import Window
from migration_assets_tests.bench.clinic import Founded, founded, read_pages
from migration_assets_tests.bench.figures import Figure
from migration_assets_tests.bench.own_process import measured_apart, peak_mb, tell

ROWS_PER_PATIENT = 9.3  # of the demo's population; the figure uses the rows that were counted


@dataclass
class NullTarget:
    """Accepts every entry at once, as a Medplum that costs nothing would."""

    pacer: Pacer
    resources: int = 0
    sent: int = 0

    def post_bundle(self, body: bytes, entries: int) -> list[dict[str, Any]]:
        """201 for every entry, which is a group's answer too; the body is not even parsed."""
        self.sent += len(body)
        return [self._answer() for _ in range(entries)]

    def search(self, resource_type: str, params: Mapping[str, str]) -> list[dict[str, Any]]:
        """Nothing is there yet."""
        return []

    def transactions_available(self) -> bool:
        """Groups are atomic."""
        return True

    def _answer(self) -> dict[str, Any]:
        inner = [self._created(), self._created()]
        answer = self._created()
        answer["resource"]["entry"] = inner
        return answer

    def _created(self) -> dict[str, Any]:
        self.resources += 1
        fhir_id = f"{self.resources:032x}"
        return {
            "response": {"status": "201", "location": f"Patient/{fhir_id}"},
            "resource": {"id": fhir_id, "meta": {"versionId": "v"}},
        }


def figures(scale: float) -> Generator[Figure, None, None]:
    """Speed on a small clinic (the median of three; of one at a small scale), memory on a large."""
    times = 3 if scale >= 1 else 1
    small = [measured_apart("throughput", str(max(10, int(3_000 * scale)))) for _ in range(times)]
    speed = statistics.median(each["rows_per_second_per_core"] for each in small)
    ratio = statistics.median(each["ratio_to_floor"] for each in small)
    floor = statistics.median(each["floor_rows_per_second_per_core"] for each in small)
    yield Figure(
        "rows_per_second_per_core",
        speed,
        "rows/s: pull, land, map, validate, bundle",
        least=3_000,
        beside=f"floor, requests + orjson alone: {floor:,.0f}; ratio {ratio:.3f}",
    )
    yield Figure("rows_per_second_per_core_of_floor", ratio)
    large = measured_apart("throughput", str(max(20, int(1_000_000 / ROWS_PER_PATIENT * scale))))
    yield Figure("rows_per_second_per_core_million_rows", large["rows_per_second_per_core"])
    yield Figure("peak_memory_rows", large["rows"], "rows")
    yield Figure("peak_memory_mb_million_rows", large["peak_memory_mb"], "MB", most=250)
    yield Figure(
        "memory_growth_mb_million_rows",
        large["peak_memory_mb"] - small[0]["peak_memory_mb"],
        "MB",
        beside=f"over {large['rows']:,.0f} rows against {small[0]['rows']:,.0f}",
    )


def measure(patients: int) -> dict[str, float]:
    """Rows per second and core, the floor's, their ratio, and peak memory in MB."""
    with founded(patients) as place:
        before = peak_mb()
        rows, seconds, sent = _measured(lambda: _migrate(place))
        peak = peak_mb()
        floor_rows, floor_seconds, _ = _measured(lambda: (read_pages(place.clinic), 0))
    return {
        "rows": rows,
        "bytes_per_row": sent / rows,
        "rows_per_second_per_core": rows / seconds,
        "floor_rows_per_second_per_core": floor_rows / floor_seconds,
        "ratio_to_floor": (rows / seconds) / (floor_rows / floor_seconds),
        "peak_memory_mb": peak,
        "memory_before_mb": before,
    }


def _measured(work: Callable[[], tuple[int, int]]) -> tuple[int, float, int]:
    started = time.process_time()
    rows, sent = work()
    return rows, time.process_time() - started, sent


def _migrate(place: Founded) -> tuple[int, int]:
    target = NullTarget(Pacer())
    run = place.run(target)
    rows = 0
    for mapping in discover().values():
        rows += land(run, mapping, Window(None, None)).rows
        migrate(run, mapping)
    return rows, target.sent


if __name__ == "__main__":
    tell(measure(int(sys.argv[1])))
