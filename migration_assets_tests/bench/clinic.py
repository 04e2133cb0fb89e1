"""A demo clinic to pull from, and the floor of pulling it.

Belongs here: founding it, a run on it, and requests + orjson over the same pages with nothing done
with them. Does not belong here: what is measured on it.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson
import requests

from migration_assets.adoption import read_adoption
from migration_assets.connections import Connections
from migration_assets.demo.clinic_server import Clinic, start_clinic
from migration_assets.demo.clinic_store import ClinicStore
from migration_assets.demo.home import Home
from migration_assets.demo.population import generate
from migration_assets.legacy import Puller
from migration_assets.manifest import Manifest
from migration_assets.mappings import discover
from migration_assets.medplum import Fhir
from migration_assets.run import Run
from migration_assets.settings import Settings

PAGE = 500


@dataclass(frozen=True)
class Founded:
    """A running clinic, an empty account, and a puller on the one for the other."""

    clinic: Clinic
    manifest: Manifest
    puller: Puller

    def run(self, fhir: Fhir | None = None) -> Run:
        """A run in which every type is in phase backfill, the default strategy."""
        phases = "\n".join(f'{each} = "backfill"' for each in discover())
        return Run(
            id=self.manifest.start_run("bench", pipeline_version="bench"),
            label="bench",
            manifest=self.manifest,
            puller=self.puller,
            adoption=read_adoption(phases),
            fhir=fhir,
            deadline_seconds=3600,
        )


@contextmanager
def founded(patients: int) -> Iterator[Founded]:
    """A clinic of so many patients behind its real API, which runs in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        home.create()
        with ClinicStore(home.clinic) as store:
            store.load(generate(patients=patients, seed=1, now=datetime.now(UTC)))
        (home.folder / "start").write_text("2024-01-01")
        with start_clinic(home.clinic, api_key=home.api_key, admin_key=home.admin_key) as clinic:
            variables = home.environment(clinic.base_url, "http://127.0.0.1:1/")
            settings = Settings.model_validate(variables)
            manifest = Manifest(settings.manifest_url, clock=lambda: datetime.now(UTC))
            puller = Connections(settings, environ=lambda: variables).puller()
            yield Founded(clinic, manifest, puller)
            manifest.close()


def read_pages(clinic: Clinic) -> int:
    """The same pages with requests and orjson, and nothing done with them; how many rows."""
    session = requests.Session()
    session.trust_env = False
    session.headers["X-API-Key"] = clinic.api_key
    rows = 0
    for stream in (each.stream for each in discover().values()):
        url: str | None = f"{clinic.base_url}api/{stream}?limit={PAGE}&include_deleted=true"
        while url:
            page = orjson.loads(session.get(url, timeout=60).content)
            rows += len(page["rows"])
            url = page["next"]
            if url and url.startswith("/"):
                url = clinic.base_url.rstrip("/") + url
    return rows
