"""The whole way of a row against a target that takes no time, and its floor.

Pull over HTTP → land → map → validate → bundle, on one core: rows per second of this process's
CPU. The clinic's server and the floor's reader are other work: the server runs in its own process,
the floor (requests and orjson over the same pages, nothing else) is measured in the same run.

    python -m migration_assets_tests.bench.throughput PATIENTS

prints one JSON object; run in a process of its own, so that its peak memory is its own.
"""

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import requests

from migration_assets.adoption import read_adoption
from migration_assets.connections import Connections
from migration_assets.demo.clinic_server import Clinic, start_clinic
from migration_assets.demo.clinic_store import ClinicStore
from migration_assets.demo.home import Home
from migration_assets.demo.population import generate
from migration_assets.manifest import Manifest
from migration_assets.mappings import discover
from migration_assets.medplum import Pacer
from migration_assets.pipeline import Run, Window, land, migrate
from migration_assets.settings import Settings

PAGE = 500


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


def measure(patients: int) -> dict[str, float]:
    """Rows per second and core, the floor's, their ratio, and peak memory in MB."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        home.create()
        now = datetime.now(UTC)
        with ClinicStore(home.clinic) as store:
            store.load(generate(patients=patients, seed=1, now=now))
        (home.folder / "start").write_text("2024-01-01")
        with start_clinic(home.clinic, api_key=home.api_key, admin_key=home.admin_key) as clinic:
            before = _peak_mb()
            rows, seconds, sent = _measured(lambda: _migrate(home, clinic))
            peak = _peak_mb()
            floor_rows, floor_seconds, _ = _measured(lambda: _floor(clinic, home.api_key))
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


def _migrate(home: Home, clinic: Clinic) -> tuple[int, int]:
    variables = home.environment(clinic.base_url, "http://127.0.0.1:1/")
    settings = Settings.model_validate(variables)
    connections = Connections(settings, environ=lambda: variables)
    manifest = Manifest(settings.manifest_url, clock=lambda: datetime.now(UTC))
    target = NullTarget(Pacer())
    mappings = discover().values()
    run = Run(
        id=manifest.start_run("bench", pipeline_version="bench"),
        label="bench",
        manifest=manifest,
        puller=connections.puller(),
        adoption=read_adoption(
            "\n".join(f'{each.resource_type} = "backfill"' for each in mappings)
        ),
        fhir=target,
        deadline_seconds=3600,
    )
    rows = 0
    for mapping in mappings:
        rows += land(run, mapping, Window(None, None)).rows
        migrate(run, mapping)
    manifest.close()
    return rows, target.sent


def _floor(clinic: Clinic, api_key: str) -> tuple[int, int]:
    """The same pages with requests and orjson, and nothing done with them."""
    session = requests.Session()
    session.trust_env = False
    session.headers["X-API-Key"] = api_key
    rows = 0
    for stream in (each.stream for each in discover().values()):
        url: str | None = f"{clinic.base_url}api/{stream}?limit={PAGE}&include_deleted=true"
        while url:
            page = orjson.loads(session.get(url, timeout=60).content)
            rows += len(page["rows"])
            url = page["next"]
            if url and url.startswith("/"):
                url = clinic.base_url.rstrip("/") + url
    return rows, 0


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))))  # noqa: T201 - read by bench/__main__
