"""A rehearsal says what a run then does, and writes nothing; a new version changes what it said."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from migration_assets.adoption import read_adoption
from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets.fhir.identifiers import identifier_system
from migration_assets.manifest import Manifest, State
from migration_assets.manifest.schema import metadata
from migration_assets.manifest.subsets import Subset
from migration_assets.mapping import Mapping, Quarantined, Resource
from migration_assets.medplum import Fhir, MedplumClient
from migration_assets.medplum.bundles import bundle_json
from migration_assets.operations.rehearsed_rows import landed_rows, live_rows
from migration_assets.operations.rehearsing import Rehearsal, Rehearsed
from migration_assets.operations.remapping import VersionChange, version_change
from migration_assets.pipeline import Worked, land, migrate
from migration_assets.run import Run, Window
from migration_assets_tests.blank_accounts import blank_file
from migration_assets_tests.conftest import SECRET, Clock
from migration_assets_tests.scripted import (
    NOW,
    ORGANIZATIONS,
    PATIENTS,
    START,
    Patient,
    ScriptedSource,
)

BACKFILL = 'Organization = "backfill"\nPatient = "backfill"'
EVERYTHING = Subset()


def _renamed(row: Patient) -> Resource:
    """The next version: one rule stricter, one element more for some."""
    if row.family == "Gone bad":
        raise Quarantined("unmapped-code", "family")
    made: Resource = {
        "resourceType": "Patient",
        "identifier": [{"system": identifier_system("Patient"), "value": row.id}],
        "name": [{"family": row.family}],
    }
    if row.family == "Changes":
        made["gender"] = "unknown"
    return made


def _strict(row: Patient) -> Resource:
    """The version before: refuses what the next one takes."""
    if row.family == "Comes back":
        raise Quarantined("unmapped-code", "family")
    return _renamed(replace_family(row)) if row.family in ("Changes", "Gone bad") else _renamed(row)


def replace_family(row: Patient) -> Patient:
    """As the version before saw it."""
    return row.model_copy(update={"family": "Before"})


FIRST = replace(PATIENTS, build=_strict)
SECOND = replace(PATIENTS, build=_renamed, version="2.0.0")


class Clinic:
    """A scripted source, an account, a Medplum; and what these tests do with them."""

    def __init__(self, account: Manifest, client: MedplumClient) -> None:
        self.account = account
        self.client = client
        self.source = ScriptedSource()

    def start(self, *, fhir: Fhir | None = None) -> Run:
        """A new run."""
        number = self.account.start_run("test", pipeline_version="0")
        return Run(
            id=number,
            label=f"run-{number}",
            manifest=self.account,
            puller=self.source,
            adoption=read_adoption(BACKFILL),
            fhir=fhir or self.client,
            deadline_seconds=30,
        )

    def land(self, *mappings: Mapping[Any]) -> Run:
        """Land everything, and deliver nothing yet."""
        run = self.start()
        for mapping in mappings or (ORGANIZATIONS, PATIENTS):
            land(run, mapping, Window(None, None))
        return run

    def run(self, *mappings: Mapping[Any], subset: Subset | None = None) -> dict[str, Worked]:
        """Land and deliver."""
        run = self.start()
        worked = {}
        for mapping in mappings or (ORGANIZATIONS, PATIENTS):
            land(run, mapping, Window(None, None))
            worked[mapping.resource_type] = migrate(run, mapping, subset)
        return worked

    def rehearse(
        self,
        *mappings: Mapping[Any],
        subset: Subset = EVERYTHING,
        live: bool = False,
        asked: bool = True,
    ) -> dict[str, Rehearsed]:
        """Rehearse, by landed rows or live ones, with Medplum or without."""
        fhir = self.client if asked else None
        rehearsal = Rehearsal(self.account, fhir, read_adoption(BACKFILL))
        made = {}
        for mapping in mappings or (ORGANIZATIONS, PATIENTS):
            stream = mapping.stream
            rows = (
                live_rows(self.account, self.source, stream, subset)
                if live
                else landed_rows(self.account, stream, subset)
            )
            report = made[mapping.resource_type] = Rehearsed(mapping.resource_type)
            for outlook in rehearsal.rehearse(mapping, rows):
                report.add(outlook)
        return made

    def change(self, *, asked: bool = True, limit: int | None = None) -> VersionChange:
        """What the second version would change."""
        fhir = self.client if asked else None
        adoption = read_adoption(BACKFILL)
        return version_change(self.account, fhir, adoption, SECOND, limit=limit)

    def state_of_everything(self) -> list[Any]:
        """Every row of the account that tells of work done."""
        with self.account._engine.begin() as connection:
            return [
                connection.execute(table.select()).all()
                for name, table in sorted(metadata.tables.items())
                if name not in ("ledgers", "requests_made")
            ]


@pytest.fixture
def clinic(tmp_path: Path, clock: Clock, running: Sandbox) -> Iterator[Clinic]:
    clock.now = NOW
    running.reset()
    account = Manifest(blank_file(tmp_path / "manifest.db"), clock=clock)
    client = MedplumClient(running.base_url, running.client_id, SecretStr(SECRET))
    yield Clinic(account, client)
    account.close()


def events(each: Rehearsed) -> dict[str, int]:
    return {event: number for (_kind, event), number in each.resources.items()}


def states(each: Rehearsed) -> dict[State, int]:
    return {state: number for state, number in each.states.items() if number}


def _populate(source: ScriptedSource) -> None:
    source.put("organizations", "O1", parent="O2")  # its parent comes later in the same stream
    source.put("organizations", "O2", at=5)
    source.put("organizations", "O3", name="skip me")
    source.put("organizations", "O4", name="quarantine me")
    for n in range(4):
        source.put("patients", f"P{n}", organization="O1")
    source.put("patients", "P9", organization="nowhere")


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("asked", [False, True])
def test_it_says_what_the_run_then_does_and_writes_nothing(
    clinic: Clinic, running: Sandbox, live: bool, asked: bool
) -> None:
    _populate(clinic.source)
    run = clinic.land() if not live else None
    before, stats = clinic.state_of_everything(), running.stats()["versions"]
    said = clinic.rehearse(live=live, asked=asked)
    assert clinic.state_of_everything() == before
    assert running.stats()["versions"] == stats
    del run
    done = clinic.run()
    for kind, worked in done.items():
        settled = {state: number for state, number in worked.by_state.items() if number}
        # An organization that waits for its parent is settled twice in one run.
        if kind == "Organization":
            settled[State.QUARANTINED] -= 1
        assert states(said[kind]) == settled, kind
        assert events(said[kind]) == {"created": worked.events["created"]}, kind


def test_after_the_run_everything_is_unchanged_and_a_changed_row_is_one_change(
    clinic: Clinic,
) -> None:
    _populate(clinic.source)
    clinic.run()
    assert events(clinic.rehearse()["Patient"]) == {"unchanged": 4}
    clinic.source.put("patients", "P1", at=9, family="New")
    clinic.source.delete("patients", "P2", at=9)
    clinic.source.put("patients", "P5", at=9)
    expected = {"unchanged": 2, "changed": 1, "deleted": 1, "created": 1}
    assert events(clinic.rehearse(live=True)["Patient"]) == expected
    clinic.land()
    assert events(clinic.rehearse()["Patient"]) == expected
    assert events(clinic.rehearse(asked=False)["Patient"]) == expected


def test_what_somebody_edited_or_doubled_in_medplum_is_foreseen(clinic: Clinic) -> None:
    clinic.source.put("patients", "P1")
    clinic.source.put("patients", "P2")
    clinic.run()
    one, two = clinic.client.search("Patient", {"_sort": "_lastUpdated"})
    entries = [
        {
            "request": {"method": "PUT", "url": f"Patient/{one['id']}"},
            "resource": {**one, "gender": "female"},
        },
        {
            "request": {"method": "POST", "url": "Patient"},
            "resource": {name: two[name] for name in two if name not in ("id", "meta")},
        },
    ]
    clinic.client.post_bundle(bundle_json([orjson.dumps(each) for each in entries]), 2)
    clinic.source.put("patients", "P1", at=9, family="New")
    clinic.source.put("patients", "P2", at=9, family="New")
    clinic.land()
    said = {reason for _state, reason, _field in clinic.rehearse()["Patient"].reasons}
    assert said == {"edited-in-medplum", "duplicate-in-medplum"}


def test_rows_with_one_key_served_live_are_a_collision_and_repeats_are_not(clinic: Clinic) -> None:
    clinic.source.put("patients", "P1")
    clinic.source.rows["patients"] *= 2
    assert clinic.rehearse(live=True)["Patient"].rows == 1
    clinic.source.rows["patients"].append(
        replace(clinic.source.rows["patients"][0], row={"id": "P1", "family": "Other"})
    )
    assert {why[1] for why in clinic.rehearse(live=True)["Patient"].reasons} == {"duplicate-key"}


def test_a_sample_is_the_same_every_time_and_another_seed_is_another(clinic: Clinic) -> None:
    for n in range(30):
        clinic.source.put("patients", f"P{n:02}")
    clinic.land()

    def drawn(subset: Subset, *, live: bool = False) -> set[str]:
        rows = (
            live_rows(clinic.account, clinic.source, "patients", subset)
            if live
            else landed_rows(clinic.account, "patients", subset)
        )
        return {each.unit.key for chunk in rows for each in chunk}

    first = drawn(Subset(sample=5, seed=1))
    assert len(first) == 5
    assert drawn(Subset(sample=5, seed=1)) == first
    assert drawn(Subset(sample=5, seed=1), live=True) == first
    assert drawn(Subset(sample=5, seed=2)) != first
    assert drawn(Subset(limit=2)) == {"P00", "P01"} == drawn(Subset(limit=2), live=True)
    assert drawn(Subset(keys=("P07", "nobody"))) == {"P07"}


def test_a_window_is_half_open(clinic: Clinic) -> None:
    for n in range(3):
        clinic.source.put("patients", f"P{n}", at=n)
    clinic.land()
    window = Subset(since=START, until=START.replace(second=2))
    for live in (False, True):
        assert clinic.rehearse(PATIENTS, subset=window, live=live)["Patient"].rows == 2


def test_a_run_of_a_subset_delivers_it_and_leaves_the_rest_pending(clinic: Clinic) -> None:
    for n in range(10):
        clinic.source.put("patients", f"P{n}")
    clinic.run(PATIENTS, subset=Subset(keys=("P3",)))
    clinic.run(PATIENTS, subset=Subset(limit=2))
    held = {each["identifier"][0]["value"] for each in clinic.client.search("Patient", {})}
    assert held == {"P0", "P1", "P3"}
    balance = clinic.account.balances()["patients"]
    assert balance.holds
    assert balance.by_state[State.PENDING] == 10 - 3 + 1, "P3 was looked at again, and waits"


def test_a_new_version_reaches_only_what_differs_without_asking_the_source(
    clinic: Clinic, running: Sandbox
) -> None:
    families = ("Same", "Changes", "Gone bad", "Comes back")
    for n, family in enumerate(families):
        clinic.source.put("patients", f"P{n}", family=family)
    clinic.run(FIRST)
    before = running.stats()["versions"]
    change = clinic.change()
    assert dict(change.resources) == {
        ("Patient", "unchanged"): 1,
        ("Patient", "changed"): 1,
        ("Patient", "created"): 1,
    }
    assert list(change.now_quarantined) == [("unmapped-code", "family")]
    assert list(change.no_longer_quarantined) == [("unmapped-code", "family")]
    assert change.before == {"1.0.0": 4}
    assert set(change.paths) == {"Patient.gender", "Patient.name.family"}
    assert clinic.account.remapping.count_outdated("patients", "2.0.0") == 4, "nothing was opened"

    clinic.source.fail_at = 0
    run = clinic.start()
    assert clinic.account.remapping.reopen_outdated("patients", SECOND.version) == 4
    worked = migrate(run, SECOND)
    assert running.stats()["versions"] == before + 2
    assert worked.by_state[State.UNCHANGED] == 1
    assert worked.by_state[State.QUARANTINED] == 1
    assert clinic.account.remapping.count_outdated("patients", "2.0.0") == 0
    assert clinic.account.remapping.reopen_outdated("patients", SECOND.version) == 0


def test_without_medplum_the_change_is_counted_by_fingerprints(clinic: Clinic) -> None:
    for n, family in enumerate(("Same", "Changes")):
        clinic.source.put("patients", f"P{n}", family=family)
    clinic.run(FIRST)
    change = clinic.change(asked=False)
    assert dict(change.resources) == {("Patient", "unchanged"): 1, ("Patient", "changed"): 1}
    assert (change.paths, change.examples) == ({}, [])
    assert clinic.change(limit=1).rows == 1
    assert clinic.change(limit=1).of_rows == 2
