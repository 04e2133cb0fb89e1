"""One resource, told by a row and by a service's FHIR: the newest version is in Medplum, once."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from migration_assets.adoption import read_adoption
from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets.fhir.identifiers import identifier_system
from migration_assets.fhir.sent import passthroughs
from migration_assets.inbox.reading import Reading, Sending
from migration_assets.legacy import PulledRow
from migration_assets.manifest import Manifest, State
from migration_assets.manifest.inbox import RUN, Event
from migration_assets.mapping import Mapping, Removal
from migration_assets.medplum import MedplumClient
from migration_assets.operations.repairing import Repair, repair
from migration_assets.pipeline import Worked, land, migrate
from migration_assets.run import Run, Way, Window
from migration_assets.sweeping import sweep
from migration_assets_tests.blank_accounts import blank_file
from migration_assets_tests.conftest import SECRET, Clock
from migration_assets_tests.inbox.door import SOURCE, fhir_patient
from migration_assets_tests.reconciliation.clinic import Clinic
from migration_assets_tests.scripted import NOW, ORGANIZATIONS, PATIENTS, START, ScriptedSource

ADOPTION = 'Organization = "dual_write"\nPatient = "dual_write"'


@dataclass
class House:
    """A legacy system, an inbox and a Medplum, and a patient called P1 in them."""

    manifest: Manifest
    client: MedplumClient
    sandbox: Sandbox
    patients: Mapping[Any] = PATIENTS
    source: ScriptedSource = field(default_factory=ScriptedSource)
    sent: int = 0
    adoption: str = ADOPTION

    def run(self) -> Run:
        """A run of anything."""
        number = self.manifest.start_run("test", pipeline_version="0")
        return Run(
            id=number,
            label=f"run-{number}",
            manifest=self.manifest,
            puller=self.source,
            adoption=read_adoption(self.adoption),
            fhir=self.client,
            deadline_seconds=30,
        )

    @property
    def sent_patients(self) -> Mapping[Any]:
        """The mapping of what services send of patients."""
        (made,) = passthroughs(self.patients)
        return made

    def pull(self) -> None:
        """Land what the legacy system shows."""
        land(self.run(), self.patients, Window(None, None, way=Way.INCREMENTAL))

    def deliver(self, *, fhir: bool) -> Worked:
        """Deliver what services sent, or the rows."""
        return migrate(self.run(), self.sent_patients if fhir else self.patients)

    def native(self, key: str, at: int, **content: Any) -> None:
        """A service sends a patient's row as the source has it, ``at`` seconds after the start."""
        moment = START + timedelta(seconds=at)
        self.sent += 1
        event = Event(service="s", key=str(self.sent), stream="patients", content=b"")
        row = PulledRow(key, {"id": key, **content}, moment, deleted=False, problem=None)
        number = self.manifest.start_run(RUN, pipeline_version="0")
        self.manifest.inbox.accept(event, [row], run_id=number)

    def event(self, resource: dict[str, Any], *, deleted: bool = False) -> None:
        """A service sends a resource."""
        self.sent += 1
        reading = Reading(SOURCE, [ORGANIZATIONS, self.patients], clock=lambda: NOW)
        sending = Sending(
            service="s", key=str(self.sent), body=orjson.dumps(resource), deleted=deleted
        )
        event, rows = reading.fhir("Patient", sending)
        self.manifest.inbox.accept(
            event, rows, run_id=self.manifest.start_run(RUN, pipeline_version="0")
        )

    def say(self, family: str, at: int, *, deleted: bool = False, **elements: Any) -> None:
        """A service sends what it made of the patient, ``at`` seconds after the start."""
        made = fhir_patient("P1", START + timedelta(seconds=at), name=[{"family": family}])
        self.event({**made, **elements}, deleted=deleted)

    def families(self) -> list[str]:
        """The family of each resource in Medplum that has the patient's identifier."""
        system = identifier_system("Patient")
        found = self.client.search("Patient", {"identifier": f"{system}|P1"})
        return [each["name"][0]["family"] for each in found]

    def outcome(self, stream: str) -> tuple[State, str | None]:
        """How the one unit of a stream stands."""
        (unit,) = self.manifest.landed_units(stream, limit=9)
        (settled,) = self.manifest.remapping.settled([unit.id])
        return settled.state, settled.reason


@contextmanager
def opened_house(sandbox: Sandbox, folder: Path, clock: Clock) -> Iterator[House]:
    """An empty one."""
    sandbox.reset()
    clock.now = NOW
    manifest = Manifest(blank_file(folder / "manifest.db"), clock=clock)
    client = MedplumClient(sandbox.base_url, sandbox.client_id, SecretStr(SECRET))
    with closing(manifest), closing(client):
        yield House(manifest, client, sandbox)


@pytest.fixture
def house(running: Sandbox, tmp_path: Path, clock: Clock) -> Iterator[House]:
    with opened_house(running, tmp_path, clock) as made:
        yield made


def test_what_a_service_sent_and_the_row_says_too_is_written_once(house: House) -> None:
    house.say("Roe", at=10)
    house.deliver(fhir=True)
    house.source.put("patients", "P1", at=10, family="Roe")
    house.pull()
    before = house.sandbox.stats()["versions"]
    house.deliver(fhir=False)
    assert house.sandbox.stats()["versions"] == before
    assert house.families() == ["Roe"]
    assert house.outcome("patients") == (State.UNCHANGED, None)


@pytest.mark.parametrize("fhir_first", [True, False])
def test_the_newer_version_takes_the_resource_over(house: House, fhir_first: bool) -> None:
    house.say("FromFhir", at=30 if not fhir_first else 10)
    house.source.put("patients", "P1", at=10 if not fhir_first else 30, family="FromRow")
    house.pull()
    house.deliver(fhir=fhir_first)
    house.deliver(fhir=not fhir_first)
    assert house.families() == ["FromRow" if fhir_first else "FromFhir"]
    assert house.manifest.balances()["patients"].by_state[State.QUARANTINED] == 0


@pytest.mark.parametrize("fhir_is_newer", [True, False])
def test_an_older_version_never_overwrites_and_says_so(house: House, fhir_is_newer: bool) -> None:
    house.say("FromFhir", at=30 if fhir_is_newer else 10)
    house.source.put("patients", "P1", at=10 if fhir_is_newer else 30, family="FromRow")
    house.pull()
    house.deliver(fhir=fhir_is_newer)
    house.deliver(fhir=not fhir_is_newer)
    assert house.families() == ["FromFhir" if fhir_is_newer else "FromRow"]
    stream = "patients" if fhir_is_newer else "fhir/Patient"
    assert house.outcome(stream) == (State.SKIPPED, "superseded")


@pytest.mark.parametrize("then", ["settled", "broken"])
def test_a_row_that_says_the_same_later_counts_from_then(house: House, then: str) -> None:
    """Nothing was sent for it, and still it is the newest word; even if a newer one is no use."""
    if then == "broken":
        house.event(fhir_patient("P9", START))  # services send already
    house.source.put("patients", "P1", at=10, family="Roe")
    house.pull()
    house.deliver(fhir=False)
    house.source.put("patients", "P1", at=30, family="Roe", noise=1)
    house.pull()
    house.deliver(fhir=False)
    if then == "broken":
        house.source.put("patients", "P1", at=40, family=3)
        house.pull()
        house.deliver(fhir=False)
    house.say("Between", at=20)
    house.deliver(fhir=True)
    assert house.families() == ["Roe"]


def test_of_one_moment_the_legacy_system_counts_and_nothing_goes_back_and_forth(
    house: House,
) -> None:
    house.source.put("patients", "P1", at=10, family="FromRow")
    house.say("FromFhir", at=10)
    house.pull()
    house.deliver(fhir=False)
    house.deliver(fhir=True)
    assert house.families() == ["FromRow"]
    assert house.outcome("fhir/Patient") == (State.SKIPPED, "superseded")


@pytest.mark.parametrize("removal", [Removal.DELETE, Removal.INACTIVE])
def test_a_deletion_by_a_service_ends_what_the_row_made(house: House, removal: Removal) -> None:
    """Kept as inactive it keeps its content, though the deletion told none."""
    house.patients = replace(PATIENTS, removal=removal)
    house.source.put("patients", "P1", at=10, family="Roe")
    house.pull()
    house.deliver(fhir=False)
    house.event(fhir_patient("P1", START + timedelta(seconds=20)), deleted=True)
    house.deliver(fhir=True)
    assert house.families() == ([] if removal is Removal.DELETE else ["Roe"])
    house.source.put("patients", "P1", at=15, family="Late")
    house.pull()
    house.deliver(fhir=False)
    assert house.families() == ([] if removal is Removal.DELETE else ["Roe"])
    assert house.outcome("patients") == (State.SKIPPED, "superseded")


def test_a_row_that_a_sweep_does_not_find_takes_what_a_service_sent_with_it(
    house: House, clock: Clock
) -> None:
    """The sweep is the newer word: nobody else will ever say that the row is gone."""
    house.source.put("patients", "P1", at=10, family="Roe")
    house.source.put("patients", "P2", at=10)
    house.pull()
    house.deliver(fhir=False)
    house.say("FromFhir", at=30)
    house.deliver(fhir=True)
    house.source.drop("patients", "P1")
    for _ in range(3):
        sweep(house.run(), house.patients, allow_missing=True)
    house.deliver(fhir=False)
    assert house.families() == []


def test_two_units_of_one_stream_still_collide(house: House) -> None:
    house.source.put("patients", "P1", at=10, family="Roe")
    house.pull()
    house.deliver(fhir=False)
    made = {
        "resourceType": "Patient",
        "identifier": [{"system": identifier_system("Patient"), "value": "P1"}],
    }
    other = replace(house.patients, build=lambda _row: made)
    house.patients = other
    house.source.put("patients", "P2", at=20)
    house.pull()
    house.deliver(fhir=False)
    reasons = {each.reason for each in house.manifest.exceptions()}
    assert reasons == {"identifier-collision"}


def test_references_of_what_is_sent_lead_to_what_they_name_or_the_unit_waits(house: House) -> None:
    organization = {"system": identifier_system("Organization"), "value": "O1"}
    house.say("Roe", at=10, managingOrganization={"identifier": organization})
    house.deliver(fhir=True)
    assert house.outcome("fhir/Patient") == (State.QUARANTINED, "awaiting-reference")
    house.source.put("organizations", "O1")
    run = house.run()
    land(run, ORGANIZATIONS, Window(None, None))
    migrate(run, ORGANIZATIONS)
    house.deliver(fhir=True)
    assert house.families() == ["Roe"]
    house.say("Roe", at=20, managingOrganization={"reference": "Organization/17"})
    house.deliver(fhir=True)
    assert house.outcome("fhir/Patient") == (State.QUARANTINED, "reference-not-by-identifier")


def test_what_a_service_sent_is_compared_and_repaired_like_anything_else(house: House) -> None:
    """Element by element, by what the service sent; and written again where it is missing."""
    house.say("Roe", at=10)
    house.deliver(fhir=True)
    hands = Clinic(house.manifest, house.client, Clock(), mappings=(house.patients,))
    assert hands.compare(house.patients, deep=True).agrees
    hands.put({**hands.held("P1"), "gender": "male"})
    found = hands.compare(house.patients, deep=True)
    assert [(each.kind, each.path) for each in hands.findings(found)] == [
        ("changed", "Patient.gender")
    ]
    hands.delete("P1")
    found = hands.compare(house.patients)
    repair(house.run(), house.patients, found.evidence.id, Repair.MISSING, act=True)
    assert house.families() == ["Roe"]


def test_back_in_rehearse_nothing_passes_and_what_came_is_still_a_debt(house: House) -> None:
    house.source.put("patients", "P1", at=10, family="Roe")
    house.pull()
    house.deliver(fhir=False)
    house.say("Roe", at=30)
    house.adoption = 'Patient = "rehearse"'
    house.deliver(fhir=True)
    assert house.outcome("fhir/Patient") == (State.PENDING, None)
    house.adoption = ADOPTION
    house.deliver(fhir=True)
    assert house.outcome("fhir/Patient") == (State.UNCHANGED, None)
    house.source.put("patients", "P1", at=20, family="Older")
    house.pull()
    house.deliver(fhir=False)
    assert house.families() == ["Roe"]


def test_what_passes_on_passes_on_either_database(
    running: Sandbox, manifest: Manifest, clock: Clock
) -> None:
    """Taken over, kept as of a later moment, taken back, deleted, and not brought back."""
    running.reset()
    clock.now = NOW
    client = MedplumClient(running.base_url, running.client_id, SecretStr(SECRET))
    with closing(client):
        house = House(manifest, client, running)
        house.say("Gone", at=5, deleted=True)
        house.deliver(fhir=True)
        house.source.put("patients", "P1", at=4, family="Late")
        house.pull()
        house.deliver(fhir=False)
        assert house.families() == []
        for at, family in ((10, "Row"), (30, "Row"), (40, "Newest")):
            house.source.put("patients", "P1", at=at, family=family)
            house.pull()
            house.deliver(fhir=False)
            house.say("Fhir" if at == 10 else family, at=at + 5)
            house.deliver(fhir=True)
        assert house.families() == ["Newest"]
        house.source.delete("patients", "P1", at=50)
        house.pull()
        house.deliver(fhir=False)
        house.say("Old", at=49)
        house.deliver(fhir=True)
        assert house.families() == []
    assert all(each.holds for each in manifest.balances().values())


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("row"), st.integers(1, 9)),
        st.tuples(st.just("gone"), st.integers(1, 9)),
        st.tuples(st.just("say"), st.integers(1, 9)),
        st.tuples(st.just("unsay"), st.integers(1, 9)),
        st.just(("pull", 0)),
        st.just(("deliver rows", 0)),
        st.just(("deliver fhir", 0)),
    ),
    max_size=12,
)


@settings(
    max_examples=int(os.environ.get("MIGRATION_MACHINE_EXAMPLES", "8")),
    suppress_health_check=list(HealthCheck),
)
@given(STEPS)
def test_however_pulls_and_events_meet_the_newest_version_is_there_once(
    running: Sandbox, tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    running.reset()
    folder = tmp_path_factory.mktemp("met")
    manifest = Manifest(blank_file(folder / "m.db"), clock=lambda: NOW)
    client = MedplumClient(running.base_url, running.client_id, SecretStr(SECRET))
    house = House(manifest, client, running)
    row: tuple[int, str | None] = (0, None)  # a source shows one version, never an older one
    told: dict[int, str | None] = {}
    try:
        for what, at in [*steps, ("pull", 0), ("deliver rows", 0), ("deliver fhir", 0)]:
            if what in ("row", "gone") and at > row[0]:
                row = (at, f"Row{at}" if what == "row" else None)
                if what == "row":
                    house.source.put("patients", "P1", at=at, family=f"Row{at}")
                else:
                    house.source.delete("patients", "P1", at=at)
            elif what in ("say", "unsay"):
                house.say(f"Fhir{at}", at=at, deleted=what == "unsay")
                newest = max(told, default=0)
                if at > newest or (at == newest and (what == "unsay" or told[at] is not None)):
                    told[at] = None if what == "unsay" else f"Fhir{at}"
            elif what == "pull":
                house.pull()
            elif what.startswith("deliver"):
                house.deliver(fhir=what == "deliver fhir")
        versions = [row] if row[0] else []
        if told:
            versions = [(max(told), told[max(told)]), *versions]
        newest_one = max(versions, key=lambda each: (each[0], each == row), default=(0, None))
        assert house.families() == ([newest_one[1]] if newest_one[1] else [])
        for balance in manifest.balances().values():
            assert balance.holds
            assert balance.by_state[State.PENDING] == balance.by_state[State.QUARANTINED] == 0
    finally:
        client.close()
        manifest.close()
