"""Four Celery workers against one, before a Medplum that is slow: what scaling out brings.

Belongs here: eight independent types of equal size, a run each, on PostgreSQL and Redis. The target
sleeps for each write, as a server far away does, so that two cores are enough for four workers.
"""

import os
import time
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path

from migration_assets.demo.clinic_store import ClinicStore, milliseconds
from migration_assets_tests.bench.figures import Figure
from migration_assets_tests.bench.in_dagster import environment, folder, postgres
from migration_assets_tests.drills.conftest import REDIS, several_machines
from migration_assets_tests.drills.processes import until

WRITE_MS = 60
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


def figures(scale: float) -> Generator[Figure, None, None]:
    """Seconds for eight runs by one worker and by four."""
    rows = max(10, int(200 * min(1, scale)))
    one, four = _seconds(1, rows), _seconds(4, rows)
    yield Figure("workers_1_seconds", one, "s", beside=f"{len(TYPES)} runs of {rows} rows")
    yield Figure("workers_4_seconds", four, "s", beside=f"{WRITE_MS} ms a write")
    yield Figure("workers_4_speedup", one / four, "times one worker", least=3.5)


def _seconds(workers: int, rows: int) -> float:
    """From the first run's start to the last one's end; the workers are warm."""
    with (
        environment(),
        postgres() as url,
        folder() as place,
        several_machines(place, url, REDIS, patients=10) as made,
    ):
        mappings = _mappings(place)
        made.variables |= {"MIGRATION_MAPPINGS": str(mappings), "MEDPLUM_CONCURRENCY": "1"}
        os.environ.update(made.variables)
        phases = "\n".join(f'{kind} = "backfill"' for kind in TYPES)
        made.home.adoption.write_text(f"{made.home.adoption.read_text()}\n{phases}\n")
        _fill(made.home.clinic, rows)
        made.sandbox.change(write_ms=WRITE_MS)
        made.started_code_server()
        started = [made.start(f"worker-{number}") for number in range(workers)]
        until(lambda: all(len(each.children()) for each in started), "the workers are warm")
        made.start("daemon")
        with made.asked() as asked:
            month = made.months()[-1]
            runs = [asked.launch(month, month, types=[kind]) for kind in TYPES]
            ended = until(lambda: asked.ended_all(runs), "all runs end", 900)
            if any(str(each) != "DagsterRunStatus.SUCCESS" for each in ended.values()):
                raise RuntimeError(f"not every run succeeded: {started[0].said()}")
            records = list(asked.instance.get_run_records())
            return max(each.end_time or 0 for each in records) - min(
                each.start_time or time.time() for each in records
            )


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
