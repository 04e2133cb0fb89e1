"""What a dual write takes: from an event that a service sends to a resource that a search finds.

Belongs here: `migration inbox` and `dagster dev` as real processes, with the shipped defaults. Does
not belong here: what taking an event costs alone.
"""

import statistics
import time
import uuid
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path
from sys import executable

import requests

from migration_assets.fhir.identifiers import identifier_system
from migration_assets.inbox import send_event
from migration_assets.medplum import find_by_identifier
from migration_assets_tests.bench.figures import Figure
from migration_assets_tests.bench.in_dagster import dagster_dev, environment, folder, p95
from migration_assets_tests.drills.asking import over_http
from migration_assets_tests.drills.installation import (
    ONE_MACHINE,
    Installation,
    free_port,
    installation,
)
from migration_assets_tests.drills.processes import Process, until

_TOKEN = "invented-for-the-benchmark"
_PATIENTS, _MONTHS = 10, 3


def figures(scale: float) -> Generator[Figure, None, None]:
    """The inbox's sensor is on by itself; the one that asks the source is off."""
    tokens = {"MIGRATION_INBOX_TOKENS": f"bench={_TOKEN}"}
    with (
        environment(),
        folder() as place,
        installation(place, ONE_MACHINE, tokens, patients=_PATIENTS, months=_MONTHS) as made,
    ):
        url, _dev = dagster_dev(made)
        inbox = _inbox(made)
        with over_http(url) as asked:
            months = made.months()
            asked.ended(asked.launch(months[0], months[-1]), 300)
            waits, answers = [], []
            for number in range(max(3, int(20 * scale))):
                answered, shown = _event(made, inbox)
                answers.append(answered)
                waits.append(shown)
                time.sleep((number * 1.7) % 5)  # not in step with the sensor
    yield Figure(
        "event_to_medplum_seconds_p95", p95(waits), "s, event sent to searchable",
        beside=f"median {statistics.median(waits):.1f} s, {len(waits)} events",
    )  # fmt: skip
    yield Figure(
        "event_answered_seconds_p95", p95(answers), "s, event sent to 202: landed by then",
        beside=f"median {statistics.median(answers):.3f} s",
    )  # fmt: skip


def _inbox(made: Installation) -> str:
    """`migration inbox` of the installation; its address."""
    port = free_port()
    command = [str(Path(executable).with_name("migration")), "inbox", "--port", str(port)]
    made.running.append(Process(command, made.variables, made.folder, "inbox"))
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return requests.get(f"{url}/healthz", timeout=5).ok
        except requests.ConnectionError:
            return False

    until(answers, "the inbox answers", 60)
    return url


def _event(made: Installation, inbox: str) -> tuple[float, float]:
    """Seconds until one event is answered, and until its patient is found."""
    fhir = made.connections().medplum()
    assert fhir is not None
    value, system = f"E-{uuid.uuid4().hex[:12]}", identifier_system("Patient")
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    row = {"patient_id": value, "last_name": "Doe", "gender": "F", "updated_at": now}
    started = time.monotonic()
    send_event(inbox, _TOKEN, "patients", row, key=value)
    answered = time.monotonic() - started
    until(
        lambda: bool(find_by_identifier(fhir, "Patient", [(system, value)])[system, value]),
        "the event's patient is found in Medplum",
        180,
    )
    return answered, time.monotonic() - started
