"""A clinic that was migrated and flipped: who writes on either side, and what is on account.

Belongs here: the verbs of the tests. Does not belong here: claims.
"""

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import requests

from migration_assets.adoption import read_adoption
from migration_assets.demo import clinic_server
from migration_assets.demo.clinic_server import Clinic
from migration_assets.legacy import Puller, Source, load_description
from migration_assets.manifest import Manifest
from migration_assets.manifest.write_back_ends import Choice, Debt, WriteBack
from migration_assets.mapping import Resource
from migration_assets.mappings import discover
from migration_assets.medplum import MedplumClient
from migration_assets.medplum.bundles import bundle_json
from migration_assets.operations.writing_back import Parts, WrittenBack, write_back
from migration_assets.pipeline import land, migrate
from migration_assets.run import Run, Way, Window
from migration_assets_tests.demo.founding import API_KEY

MAPPINGS = discover()
TYPES = ("Organization", "Practitioner", "Patient", "Encounter")
STREAMS = {kind: MAPPINGS[kind].stream for kind in TYPES}
_DESCRIPTION = Path(clinic_server.__file__).with_name("clinic.yaml")

PATIENT = {
    "patient_id": "P1",
    "first_name": "Ann",
    "last_name": "Roe",
    "birth_date": "1980-07-15",
    "gender": "F",
    "phone": "+1 555 0100",
    "marital_code": "S",
}
ROWS: dict[str, list[dict[str, Any]]] = {
    "organizations": [
        {"organization_id": "ORG1", "name": "North", "type_code": "clinic"},
        {"organization_id": "ORG2", "name": "South", "type_code": "hospital"},
    ],
    "practitioners": [{"practitioner_id": "DR1", "last_name": "Gray", "active": True}],
    "patients": [
        PATIENT,
        {**PATIENT, "patient_id": "P2", "first_name": "Bea"},
    ],
    "encounters": [
        {
            "encounter_id": "E1",
            "patient_id": "P1",
            "date": "2023-06-15T00:00:00Z",
            "type": "checkup",
            "status": "in-progress",
            "note": "All is well.",
        }
    ],
}
ALL = "\n".join(f'{kind} = "{{0}}"' for kind in TYPES)


def now() -> datetime:
    """The time: Medplum dates its versions by it."""
    return datetime.now(UTC)


def description(**changes: Any) -> Source:
    """The clinic's description, patient for no time; ``changes`` of how rows are written."""
    source = load_description(_DESCRIPTION)
    streams = tuple(
        each.model_copy(update={"write": each.write and each.write.model_copy(update=changes)})
        for each in source.streams
    )
    http = source.http.model_copy(update={"backoff": 0.0, "max_backoff": 0.0})
    return source.model_copy(update={"streams": streams, "http": http})


class World:
    """One clinic, one Medplum, one account."""

    def __init__(
        self, clinic: Clinic, store: Path, client: MedplumClient, account: Manifest
    ) -> None:
        self.clinic, self.client, self.account = clinic, client, account
        self.phase = "backfill"
        self.declared = ""
        """Another adoption than one phase for all types."""
        self.types: tuple[str, ...] = ("Patient",)
        self.environ = {
            "MIGRATION_LEGACY_URL": clinic.base_url,
            "MIGRATION_LEGACY_API_KEY": API_KEY,
        }
        with sqlite3.connect(store) as emptied:
            emptied.execute("DELETE FROM rows")
        emptied.close()
        clinic.fail_writes()
        for stream, rows in ROWS.items():
            for row in rows:
                clinic.put(stream, str(next(iter(row.values()))), row)

    # -- what happens -------------------------------------------------------------------------

    def migrated(self) -> "World":
        """Everything pulled and delivered, then Medplum the owner of every type."""
        self.follow(Way.BACKFILL)
        self.flip("write")
        return self

    def follow(self, way: Way = Way.INCREMENTAL) -> None:
        """Pull and deliver all types, as far as their phase permits."""
        run = Run(
            id=self.account.start_run("pull", pipeline_version="0"),
            label="pull",
            manifest=self.account,
            puller=self.puller(),
            adoption=read_adoption(ALL.format(self.phase)),
            fhir=self.client,
            deadline_seconds=30,
        )
        for kind in self.types:
            land(run, MAPPINGS[kind], Window(None, None, way=way))
            migrate(run, MAPPINGS[kind])

    def whole(self) -> None:
        """Organizations, practitioners and encounters, too; P2 is of the second organization."""
        self.types = TYPES
        self.at_the_desk("P2", organization_id="ORG2", practitioner_id="DR1")
        self.flip("backfill")
        self.follow(Way.BACKFILL)
        self.flip("write")

    def flip(self, phase: str) -> None:
        """Move every type."""
        moved = self.account.switching.begin(
            dict.fromkeys(TYPES, self.phase), phase, by="test", evidence={}
        )
        self.account.switching.applied(moved)
        self.phase = phase

    def back(
        self, kind: str = "Patient", *, legacy: Any = None, fhir: Any = None, **changes: Any
    ) -> WrittenBack:
        """One run of write-back."""
        return write_back(
            Parts(
                manifest=self.account,
                fhir=fhir or self.client,
                adoption=read_adoption(self.declared or ALL.format(self.phase)),
                legacy=legacy or self.puller(**changes),
                run_id=self.account.start_run("back", pipeline_version="0"),
                deadline_seconds=10,
                sleep=lambda _seconds: None,
            ),
            MAPPINGS[kind],
        )

    def puller(self, **changes: Any) -> Puller:
        """The product's own puller of the clinic."""
        return Puller(description(**changes), environ=self.environ, sleep=lambda _seconds: None)

    # -- in Medplum ---------------------------------------------------------------------------

    def resource(self, key: str = "P1", kind: str = "Patient") -> Resource:
        """What Medplum holds under a key of the source's."""
        (found,) = [
            each
            for each in self.client.search(kind, {})
            if any(one["value"] == key for one in each.get("identifier", ()))
        ]
        return found

    def edit(
        self, change: Callable[[Resource], Resource], key: str = "P1", kind: str = "Patient"
    ) -> str:
        """Somebody edits a resource in Medplum; its new version."""
        return self.put(change(self.resource(key, kind)))

    def put(self, resource: Resource) -> str:
        """Somebody writes a resource in Medplum as a whole; its new version."""
        return self._write("PUT", f"{resource['resourceType']}/{resource['id']}", resource)

    def create(self, resource: Resource) -> str:
        """Somebody makes a resource in Medplum; its id."""
        entry = {"request": {"method": "POST", "url": resource["resourceType"]}}
        body = orjson.dumps({**entry, "resource": resource})
        (answer,) = self.client.post_bundle(bundle_json([body]), 1)
        return str(answer["resource"]["id"])

    def remove(self, key: str = "P1", kind: str = "Patient") -> None:
        """Somebody deletes a resource in Medplum."""
        held = self.resource(key, kind)
        request = {"method": "DELETE", "url": f"{kind}/{held['id']}"}
        self.client.post_bundle(bundle_json([orjson.dumps({"request": request})]), 1)

    def _write(self, method: str, url: str, resource: Resource) -> str:
        entry = {"request": {"method": method, "url": url}, "resource": resource}
        (answer,) = self.client.post_bundle(bundle_json([orjson.dumps(entry)]), 1)
        assert str(answer["response"]["status"]).startswith("20"), answer["response"]
        return str(answer["resource"]["meta"]["versionId"])

    # -- in the clinic ------------------------------------------------------------------------

    def row(self, key: str = "P1", stream: str = "patients") -> dict[str, Any] | None:
        """The clinic's row, without the times it keeps by itself; None if it is gone."""
        answer = requests.get(
            f"{self.clinic.base_url}api/{stream}/{key}", headers={"X-API-Key": API_KEY}, timeout=30
        )
        if answer.status_code in (404, 410):
            return None
        return {name: each for name, each in answer.json().items() if name != "updated_at"}

    def at_the_desk(self, key: str = "P1", stream: str = "patients", **fields: Any) -> None:
        """Somebody edits a row in the clinic."""
        row = self.row(key, stream)
        assert row is not None
        self.clinic.put(stream, key, {**row, **fields})

    # -- on account ---------------------------------------------------------------------------

    def debts(self, kind: str = "Patient") -> list[Debt]:
        """Every debt of a type, oldest first."""
        return self.account.write_backs.listed(kind, list(WriteBack), limit=1_000)

    def decide(self, choice: Choice, kind: str = "Patient") -> None:
        """A person decides of the newest debt that waits for one."""
        waits = (WriteBack.CONFLICT, WriteBack.REFUSED)
        newest = [each for each in self.debts(kind) if each.state in waits][-1]
        assert self.account.write_backs.decide(newest, choice, by="me", note=None)


def phone(number: str) -> Callable[[Resource], Resource]:
    """An edit: another telephone number."""
    return lambda held: {**held, "telecom": [{"system": "phone", "value": number}]}


def named(first: str) -> Callable[[Resource], Resource]:
    """An edit: another first name."""
    return lambda held: {**held, "name": [{**held["name"][0], "given": [first]}]}
