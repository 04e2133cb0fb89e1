"""What Dagster adds: from a change in the legacy API to Medplum, per run, per backfill, in memory.

Belongs here: a real `dagster dev` with the shipped defaults, and deploy/'s units with Celery; asked
over GraphQL like the UI does. Does not belong here: what a row costs (``throughput``).
"""

import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import requests

from migration_assets.demo.clinic_store import ClinicStore, Selection
from migration_assets.fhir.identifiers import identifier_system
from migration_assets.medplum import find_by_identifier
from migration_assets_tests.bench.figures import Figure
from migration_assets_tests.drills.asking import Asked, over_http
from migration_assets_tests.drills.installation import (
    ONE_MACHINE,
    ROOT,
    Installation,
    free_port,
    installation,
)
from migration_assets_tests.drills.processes import Process, until
from migration_assets_tests.drills.several import several_machines

_PATIENTS, _MONTHS = 20, 6


def latency_figures(scale: float) -> Generator[Figure, None, None]:
    """`dagster dev` on SQLite, nothing set: change → searchable."""
    with (
        environment(),
        folder() as place,
        installation(place, ONE_MACHINE, {}, patients=_PATIENTS, months=_MONTHS) as made,
    ):
        url, dev = dagster_dev(made)
        yield Figure("memory_mb_dagster_dev", _pss_mb(dev), "MB PSS, all processes of dagster dev")
        with over_http(url) as asked:
            took, runs = _changes(made, asked, max(3, int(20 * scale)))
            yield Figure(
                "change_to_medplum_seconds_p95", p95(took), "s, legacy change to searchable",
                most=15, beside=f"median {statistics.median(took):.1f} s, {len(took)} changes",
            )  # fmt: skip
            yield from _overhead("run_seconds_incremental", asked, runs)


def celery_figures(scale: float) -> Generator[Figure, None, None]:
    """The same with deploy/'s units: PostgreSQL, a warm Celery worker on Redis."""
    with (
        environment(),
        folder() as place,
        several_machines(place, patients=_PATIENTS, months=_MONTHS) as made,
    ):
        os.environ.update(made.variables)
        made.ready("code")
        made.ready("worker-1")
        daemon = made.ready("daemon")
        with made.asked() as asked:
            took, runs = _changes(made, asked, max(3, int(20 * scale)))
            yield Figure(
                "change_to_medplum_seconds_p95_celery", p95(took),
                "s, legacy change to searchable", most=6,
                beside=f"median {statistics.median(took):.1f} s, {len(took)} changes",
            )  # fmt: skip
            yield from _overhead("run_seconds_incremental_celery", asked, runs)
        web = made.start("webserver")
        until(lambda: "Serving dagster-webserver" in web.said(), "the webserver serves")
        parts = {each.name: _pss_mb(each) for each in made.running}
        yield Figure(
            "memory_mb_webserver_daemon_code_server",
            parts["webserver"] + _pss_mb(daemon) + parts["code"],
            "MB PSS", beside=", ".join(f"{name} {mb:.0f}" for name, mb in parts.items()),
        )  # fmt: skip


def backfill_figures(scale: float) -> Generator[Figure, None, None]:
    """24 months of every type in one run and in a run per month, on SQLite: launch to all done."""
    for name, apart in (("single", False), ("multi", True)):
        with (
            environment(),
            folder() as place,
            installation(
                place, ONE_MACHINE, {}, patients=_PATIENTS, months=max(3, int(24 * min(1, scale)))
            ) as made,
        ):
            os.environ.update(made.variables)
            made.ready("code")
            made.ready("daemon")
            with made.asked() as asked:
                months = made.months()
                started = time.monotonic()
                spans = [(each, each) for each in months] if apart else [(months[0], months[-1])]
                for first, last in spans:
                    asked.launch(first, last)
                asked.all_ended(1200)
                yield Figure(
                    f"backfill_{name}_run_seconds", time.monotonic() - started, "s",
                    beside=f"{len(months)} months in {len(spans)} runs, {_PATIENTS} patients",
                )  # fmt: skip


def _changes(made: Installation, asked: Asked, times: int) -> tuple[list[float], list[str]]:
    """Seconds from each of some changes to the moment a search shows it; the runs it took."""
    months = made.months()
    asked.ended(asked.launch(months[0], months[-1]), 300)
    before = {each.run_id for each in asked.runs()}
    asked.start_sensor("legacy_changes")
    took = [_change(made, number) for number in range(times)]
    return took, [each.run_id for each in asked.runs() if each.run_id not in before]


def _change(made: Installation, number: int) -> float:
    """One change of one patient; the next begins at another moment of the sensor's interval."""
    fhir = made.connections().medplum()
    assert fhir is not None
    system = identifier_system("Patient")
    with ClinicStore(made.home.clinic, read_only=True) as store:
        selection = Selection("patients", include_deleted=False)
        rows = [orjson.loads(each) for each in store.page(selection, after=None, limit=50).rows]
    rows = [each for each in rows if each.get("patient_id")]
    keys = [(system, str(each["patient_id"])) for each in rows]
    there = find_by_identifier(fhir, "Patient", keys)
    clean = [each for each in rows if len(there[system, str(each["patient_id"])]) == 1]
    row = clean[number % len(clean)]
    value, family = str(row["patient_id"]), f"Changed{number}"
    made.doctor.put("patients", value, {**row, "last_name": family})
    started = time.monotonic()

    def shown() -> bool:
        (there,) = find_by_identifier(fhir, "Patient", [(system, value)])[system, value]
        return bool(there["name"][0]["family"] == family)

    until(shown, "the change is found in Medplum", 180)
    seconds = time.monotonic() - started
    time.sleep((number * 1.7) % 5)  # not in step with the sensor
    return seconds


def _overhead(name: str, asked: Asked, run_ids: list[str]) -> Iterator[Figure]:
    """Launch to end of the runs that the sensor started."""
    records = asked.instance.get_run_records()
    spans = [
        each.end_time - each.create_timestamp.timestamp()
        for each in records
        if each.dagster_run.run_id in run_ids and each.end_time
    ]
    if spans:
        yield Figure(name, statistics.median(spans), "s, queued to ended, median")


def dagster_dev(made: Installation) -> tuple[str, Process]:
    """`dagster dev` as the README starts it, on a port of ours."""
    port = free_port()
    os.environ.update(made.variables)
    command = [
        str(Path(sys.executable).with_name("dagster")), "dev",
        "--workspace", str(ROOT / "workspace.yaml"), "--port", str(port),
    ]  # fmt: skip
    dev = Process(command, made.variables, made.folder, "dev")
    made.running.append(dev)
    url = f"http://127.0.0.1:{port}"
    until(lambda: dev.lives and _answers(url), "dagster dev answers", 120)
    return url, dev


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/server_info", timeout=5).ok
    except requests.ConnectionError:
        return False


def _pss_mb(process: Process) -> float:
    """Memory of a process and its children, what they share counted once."""
    total = 0
    for pid in [process.pid, *process.children()]:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
        except OSError:
            continue
        total += next(int(each.split()[1]) for each in text.splitlines() if each.startswith("Pss:"))
    return total / 1024


def p95(values: list[float]) -> float:
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as made:
        yield Path(made) / "installation"


@contextmanager
def environment() -> Iterator[None]:
    """What is set for Dagster's own readers of the environment, undone."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
