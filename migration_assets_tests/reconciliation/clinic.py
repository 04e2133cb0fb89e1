"""A migrated clinic and somebody who meddles with its Medplum project, for comparing the two.

Belongs here: the account, the sandbox and what others do to it. Does not belong here: claims.
"""

import uuid
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import orjson

from migration_assets.adoption import Adoption, read_adoption
from migration_assets.manifest import Manifest
from migration_assets.manifest.reconciliations import Finding
from migration_assets.mapping import Mapping, Resource
from migration_assets.medplum import Fhir, MedplumClient
from migration_assets.medplum.bundles import bundle_json
from migration_assets.pipeline import land, migrate
from migration_assets.reconciliation.comparison import compare
from migration_assets.reconciliation.findings import Comparison, all_findings
from migration_assets.run import Run, Window
from migration_assets_tests.conftest import Clock
from migration_assets_tests.scripted import ORGANIZATIONS, PATIENTS, ScriptedSource

_BACKFILL = 'Organization = "backfill"\nPatient = "backfill"\nEncounter = "backfill"'


@dataclass
class Clinic:
    """A scripted source, an account and a Medplum; and the hands of others in it."""

    account: Manifest
    client: MedplumClient
    clock: Clock
    mappings: tuple[Mapping[Any], ...] = (ORGANIZATIONS, PATIENTS)
    source: ScriptedSource = field(default_factory=lambda: ScriptedSource(page_size=500))
    adoption: Adoption = field(default_factory=lambda: read_adoption(_BACKFILL))

    def migrate(self) -> int:
        """Pull and deliver every type; the run's number."""
        run = self.land()
        for mapping in self.mappings:
            migrate(run, mapping)
        return run.id

    def land(self) -> Run:
        """Pull every type, and deliver nothing yet."""
        self.clock.now += timedelta(minutes=1)
        number = self.account.start_run("test", pipeline_version="0")
        run = Run(
            id=number,
            label=f"run-{number}",
            manifest=self.account,
            puller=self.source,
            adoption=self.adoption,
            fhir=self.client,
            deadline_seconds=30,
        )
        for mapping in self.mappings:
            land(run, mapping, Window(None, None))
        return run

    def people(self, number: int, **row: Any) -> None:
        """So many patients, migrated."""
        for n in range(number):
            self.source.put("patients", f"P{n}", **row)
        self.migrate()

    def compare(
        self, mapping: Mapping[Any] = PATIENTS, *, fhir: Fhir | None = None, **options: Any
    ) -> Comparison:
        """Compare a type."""
        client = fhir or self.client
        return compare(self.account, client, mapping, clock=self.clock, **options)

    def found(self, comparison: Comparison) -> list[tuple[str, str, str]]:
        """Kind, reason and source key of every finding."""
        return sorted(
            (each.kind, each.reason, each.key)
            for each in all_findings(self.account, comparison.evidence.id, page=2)
        )

    def findings(self, comparison: Comparison) -> list[Finding]:
        """Every finding, in the order in which it was made."""
        return list(all_findings(self.account, comparison.evidence.id))

    def held(self, key: str, kind: str = "Patient") -> Resource:
        """The one resource that carries a key."""
        (found,) = (
            each
            for each in self.client.search(kind, {})
            if any(one["value"] == key for one in each.get("identifier") or ())
        )
        return found

    def put(self, resource: Resource) -> None:
        """Somebody writes over a resource."""
        url = f"{resource['resourceType']}/{resource['id']}"
        self.send({"request": {"method": "PUT", "url": url}, "resource": resource})

    def post(self, resource: Resource) -> str:
        """Somebody creates a resource; its id."""
        body = {name: each for name, each in resource.items() if name not in ("id", "meta")}
        request = {"method": "POST", "url": resource["resourceType"]}
        (answer,) = self.send({"request": request, "resource": body})
        return str(answer["resource"]["id"])

    def delete(self, key: str, kind: str = "Patient") -> None:
        """Somebody deletes a resource."""
        url = f"{kind}/{self.held(key, kind)['id']}"
        self.send({"request": {"method": "DELETE", "url": url}})

    def send(self, *entries: dict[str, Any]) -> list[dict[str, Any]]:
        """Execute entries, all of which must succeed."""
        answers = self.client.post_bundle(
            bundle_json([orjson.dumps(each) for each in entries]), len(entries)
        )
        assert all(each["response"]["status"].startswith("2") for each in answers), answers
        return answers


def uuid_of(number: int) -> str:
    """An id that no resource has."""
    return str(uuid.UUID(int=number))
