"""Four Celery workers against one, before a Medplum that is slow: what scaling out brings.

Belongs here: eight independent types of equal size, a run each, on PostgreSQL and Redis. The target
takes its time for each write, requests side by side, and the legacy API for each page: two cores
are enough for four workers that wait most of the time.
"""

import os
import statistics
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

from migration_assets.demo.clinic_store import ClinicStore, milliseconds
from migration_assets_tests.bench.figures import Figure
from migration_assets_tests.bench.in_dagster import environment, folder
from migration_assets_tests.drills.gate import Asked
from migration_assets_tests.drills.processes import Process, until
from migration_assets_tests.drills.several import several_machines

WRITE_MS, PAGE_MS = 60, 200
TYPES = (
    "Location", "HealthcareService", "Person", "CareTeam", "Device", "DeviceDefinition",
    "Questionnaire", "Group",
)  # fmt: skip
_MORE = {"Questionnaire": 'status="active"', "Group": 'type="person", actual=True'}
_FILE = """
from migration_assets.fhir.elements import resource
from migration_assets.fhir.identifiers import identifier
from migration_assets.mapping import Mapping, Row, Step


class Thing(Row):
    id: str


def thing(row):
    return resource(
        "{kind}", "{stream}", identifier=[identifier("{kind}", row.id, "id")], {more}
    )


MAPPING = Mapping(
    stream="{stream}", row=Thing, resource_type="{kind}", build=thing, version="1.0.0",
    step=Step.ORGANIZATIONS, examples=({{"id": "1"}},),
)
"""


@dataclass(frozen=True)
class Took:
    """Seconds from the first run's start to the last one's end, and what a run took of them."""

    seconds: float
    of_a_run: float
    cpu_of_a_run: float


def figures(scale: float) -> Generator[Figure, None, None]:
    """Seconds for eight runs by one worker and by four; a run with nothing to do, beside it."""
    rows = max(10, int(300 * min(1, scale)))
    one, four = _took(1, rows), _took(4, rows)
    idle = _took(1, 1)
    yield Figure(
        "workers_1_seconds", one.seconds, "s",
        beside=f"{len(TYPES)} runs of {rows} rows, {one.of_a_run:.1f} s each",
    )  # fmt: skip
    yield Figure(
        "workers_4_seconds", four.seconds, "s",
        beside=f"{four.of_a_run:.1f} s a run; {WRITE_MS} ms a write, {os.cpu_count()} cores",
    )  # fmt: skip
    yield Figure(
        "workers_run_overhead_seconds", idle.of_a_run, "s, a run of one row on a warm worker",
        beside=f"{idle.cpu_of_a_run:.2f} s of CPU; {four.cpu_of_a_run:.2f} s with {rows} rows",
    )  # fmt: skip
    yield Figure(
        "workers_4_speedup", one.seconds / four.seconds, "times one worker", least=3.5,
    )  # fmt: skip


def _took(workers: int, rows: int) -> Took:
    """Eight runs by so many warm workers."""
    with (
        environment(),
        folder() as place,
        several_machines(place, patients=10, months=1) as made,
    ):
        mappings = _mappings(place)
        made.variables |= {"MIGRATION_MAPPINGS": str(mappings), "MEDPLUM_CONCURRENCY": "1"}
        os.environ.update(made.variables)
        phases = "\n".join(f'{kind} = "backfill"' for kind in TYPES)
        made.home.adoption.write_text(f"{made.home.adoption.read_text()}\n{phases}\n")
        _fill(made.home.clinic, rows)
        made.medplum.seconds = _of_writes
        made.clinic.seconds = lambda _asked, _body: PAGE_MS / 1000
        made.ready("code")
        started = [made.start(f"worker-{number}") for number in range(workers)]
        for each in started:
            made.ready(each.name)
        made.ready("daemon")
        with made.asked() as asked:
            month = made.months()[-1]
            warm = [asked.launch(month, month, types=["Practitioner"]) for _ in range(workers)]
            until(lambda: asked.ended_all(warm), "the workers are warm")
            before = _cpu_seconds(started)
            runs = [asked.launch(month, month, types=[kind]) for kind in TYPES]
            ended = until(lambda: asked.ended_all(runs), "all runs end", 900)
            if set(ended.values()) != {dg.DagsterRunStatus.SUCCESS}:
                raise RuntimeError(f"not every run succeeded: {started[0].said()}")
            cpu = (_cpu_seconds(started) - before) / len(runs)
            assert made.sandbox.stats()["resources"].get(TYPES[0]) == rows
            found = [asked.instance.get_run_record_by_id(each) for each in runs]
            spans = [(each.start_time or 0, each.end_time or 0) for each in found if each]
        first, last = min(begin for begin, _ in spans), max(end for _, end in spans)
        return Took(last - first, statistics.median(end - begin for begin, end in spans), cpu)


def _cpu_seconds(workers: Sequence[Process]) -> float:
    """What the workers and their children took of the processors so far."""
    pids = [pid for each in workers for pid in (each.pid, *each.children())]
    stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(each[11]) + int(each[12]) for each in stats) / os.sysconf("SC_CLK_TCK")


def _of_writes(_asked: Asked, body: bytes) -> float:
    """The time of a batch: its entries one after the other, as Medplum takes them."""
    return body.count(b'"method"') * WRITE_MS / 1000


def _mappings(place: Path) -> Path:
    """A file per type, as a user drops them in."""
    made = place / "mappings"
    made.mkdir()
    for kind in TYPES:
        text = _FILE.format(kind=kind, stream=_stream(kind), more=_MORE.get(kind, ""))
        (made / f"{kind.lower()}.py").write_text(text, encoding="utf-8")
    return made


def _fill(clinic: Path, rows: int) -> None:
    """So many rows of each type, changed today."""
    now = milliseconds(datetime.now(UTC))
    with ClinicStore(clinic) as store:
        for kind in TYPES:
            store.declare(_stream(kind), "id")
            store.load(
                (_stream(kind), f"{kind}-{n}", now, {"id": f"{kind}-{n}"}) for n in range(rows)
            )


def _stream(kind: str) -> str:
    return f"bench_{kind.lower()}"
