"""The product's own way from a landed row to a resource, for measuring: one account, one server.

Belongs here: invented rows, and runs over them. Does not belong here: what is measured. The
mappings are the package's own.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from migration_assets.adoption import Strategy, read_adoption
from migration_assets.legacy import PulledRow
from migration_assets.manifest import Manifest, State
from migration_assets.mappings import discover
from migration_assets.medplum import Deliverer
from migration_assets.pipeline import Worked, migrate
from migration_assets.run import Run
from migration_assets_tests.bench.server import Server
from migration_assets_tests.scripted import ScriptedSource

Rows = list[dict[str, Any]]


def practitioners(number: int, tag: str) -> Rows:
    """Doctors without references."""
    return [
        {
            "practitioner_id": f"{tag}D{n}",
            "first_name": "Ada",
            "last_name": f"Lindqvist-{n}",
            "gender": "F",
            "active": True,
        }
        for n in range(number)
    ]


def patients(number: int, tag: str, *, phone: str = "+1 555 0120") -> Rows:
    """People without references; another ``phone`` is a change."""
    return [
        {
            "patient_id": f"{tag}P{n}",
            "first_name": "Zoë",
            "last_name": f"Østergård-{n}",
            "birth_date": "1931-05",
            "gender": "F",
            "phone": phone,
            "address_line": "7 Hill Street",
            "city": "Springfield",
            "active": True,
        }
        for n in range(number)
    ]


def encounters(number: int, tag: str) -> Rows:
    """One visit of each patient, without a note, so that each is one resource."""
    return [
        {
            "encounter_id": f"{tag}E{n}",
            "patient_id": f"{tag}P{n}",
            "date": "2023-07-01",
            "type": "checkup",
            "status": "finished",
        }
        for n in range(number)
    ]


def observations(number: int, tag: str, *, series: str, among: int) -> Rows:
    """Measurements with three references each, to ``among`` patients and what belongs to them."""
    return [
        {
            "observation_id": f"{tag}{series}{n}",
            "patient_id": f"{tag}P{n % among}",
            "encounter_id": f"{tag}E{n % among}",
            "practitioner_id": f"{tag}D{n % among}",
            "category": "vital-signs",
            "code": "HT",
            "observed_at": "2023-06-15T00:05:00Z",
            "status": "final",
            "value_type": "numeric",
            "value": 150 + n % 50,
            "unit": "cm",
        }
        for n in range(number)
    ]


@dataclass
class Delivery:
    """An account of its own, in a folder, that delivers to one server."""

    server: Server
    folder: Path
    clock_minutes: int = field(default=0)

    def __post_init__(self) -> None:
        self.manifest = Manifest(f"sqlite:///{self.folder / 'manifest.db'}", clock=self.server.now)
        self.client = self.server.client(self.manifest)

    def land(self, kind: str, rows: Rows) -> None:
        """Put rows on account, pending; each time a minute newer than the last."""
        self.clock_minutes += 1
        changed = self.server.now() - timedelta(days=1) + timedelta(minutes=self.clock_minutes)
        # Every stream of the demo has its key in the row's first field.
        landed = [
            PulledRow(str(next(iter(each.values()))), each, changed, deleted=False, problem=None)
            for each in rows
        ]
        run = self._run(kind, Strategy.EXCLUSIVE)
        self.manifest.land(discover()[kind].stream, landed, run_id=run.id, reopen=True)

    def migrate(self, kind: str, strategy: Strategy = Strategy.EXCLUSIVE) -> Worked:
        """Prepare, resolve, deliver and settle what is pending of a type.

        Raises:
            AssertionError: some of it was neither written nor found as it should be.
        """
        worked = migrate(self._run(kind, strategy), discover()[kind])
        ended_well = {State.MIGRATED, State.UNCHANGED}
        badly = {
            each.value: n for each, n in worked.by_state.items() if n and each not in ended_well
        }
        if badly:
            raise AssertionError(f"a benchmark's rows must all arrive; {kind}: {badly}")
        return worked

    def found(self, tag: str, number: int) -> None:
        """So many patients, with an encounter and a doctor each, migrated."""
        for kind, rows in (
            ("Practitioner", practitioners(number, tag)),
            ("Patient", patients(number, tag)),
            ("Encounter", encounters(number, tag)),
        ):
            self.land(kind, rows)
            self.migrate(kind)

    def close(self) -> None:
        """Give back the account's connections."""
        self.manifest.close()

    def _run(self, kind: str, strategy: Strategy) -> Run:
        return Run(
            id=self.manifest.start_run("bench", pipeline_version="bench"),
            label="bench",
            manifest=self.manifest,
            puller=ScriptedSource(),  # rows are landed by hand
            adoption=read_adoption(f'{kind} = {{phase = "backfill", strategy = "{strategy}"}}'),
            fhir=self.client,
            deadline_seconds=3600,
            new_deliverer=partial(Deliverer, clock=self.server.clock, sleep=self.server.sleep),
        )
