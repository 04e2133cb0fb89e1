"""What a sign-off report takes: 100,000 units at scale 1, with patient data, JSON and page.

Belongs here: the report's own time on a filled account. Does not belong here: queries one by one
(``size``). The floor is reading every unit's row once and doing nothing with it, which no report
that chooses patients by their rows can do without.
"""

import sqlite3
import tempfile
import time
from collections.abc import Generator
from datetime import UTC, date, datetime
from pathlib import Path

import orjson

from migration_assets.adoption import read_adoption
from migration_assets.fhir.identifiers import identifier_system
from migration_assets.manifest import Manifest, token
from migration_assets.mappings import discover
from migration_assets.signoff.page import write_report
from migration_assets.signoff.report import Wanted, make_report
from migration_assets.signoff.withholding import Withholding
from migration_assets_tests.bench.figures import Figure
from migration_assets_tests.bench.filling import fill

_UNITS = 100_000
_NOW = datetime(2025, 6, 1, tzinfo=UTC)


def figures(scale: float) -> Generator[Figure, None, None]:
    """Seconds of a whole report, and how many times the floor that is."""
    units = max(1_000, int(_UNITS * scale))
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/manifest.db"
        fill(url, units)
        Manifest(url, clock=lambda: _NOW).close()  # brings it up to date
        _refer(Path(folder) / "manifest.db")
        manifest = Manifest(url, clock=lambda: _NOW)
        mappings = tuple(discover().values())
        for _ in range(2):  # the first finds the disk's cache cold
            idle = time.process_time()
            rows = sum(
                len(page) for each in mappings for page in manifest.contents.rows(each.stream)
            )
            floor = time.process_time() - idle
        began, worked = time.perf_counter(), time.process_time()
        made = make_report(
            manifest,
            Wanted(
                mappings=mappings,
                every=mappings,
                adoption=read_adoption(""),
                names=Withholding(everything=True, salt=b"bench"),
                seed=1,
                of_each=4,
                start=date(2017, 1, 1),
                now=_NOW,
                pipeline_version="bench",
                encrypted=False,
                puller={},
            ),
        )
        page, _values = write_report(made, Path(folder))
        took, worked = time.perf_counter() - began, time.process_time() - worked
        manifest.close()
        if rows != units or made.charts is None or len(made.charts.charts) < 8:
            raise AssertionError("the report must be of all units, and of patients")
        beside = f"{worked:.1f} s of CPU, {worked / floor:.1f} times reading {rows:,} rows once"
        size = page.stat().st_size / 1024
    yield Figure("report_seconds_100k_units", took * _UNITS / units, "s", beside=beside)
    yield Figure("report_cpu_vs_reading_once", worked / floor)
    yield Figure("report_page_kib", size, "KiB")


def _refer(file: Path) -> None:
    """Have every record that is not a patient refer to one, as it would have been delivered."""
    with sqlite3.connect(file) as connection:
        asked = connection.execute("SELECT key FROM units WHERE stream = 'patients'").fetchall()
        keys = [key for (key,) in asked]
        system = identifier_system("Patient")
        connection.execute(
            "UPDATE targets SET token = 'Patient|' || ? || substr(token, -11)"
            " WHERE resource_type = 'Patient'",
            (f"{system}|",),
        )
        found = connection.execute(
            "SELECT id, resource_type FROM targets"
            " WHERE resource_type IN ('Encounter', 'Observation', 'Condition')"
        ).fetchall()
        rows = [
            (number, _named(kind, token("Patient", system, keys[number * 7919 % len(keys)])))
            for number, kind in found
        ]
        connection.executemany("INSERT INTO delivered_references VALUES (?, ?)", rows)
    connection.close()


def _named(kind: str, patient: str) -> str:
    return orjson.dumps([[f"{kind}.subject", patient]]).decode()
