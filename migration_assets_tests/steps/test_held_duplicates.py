"""Two patients that may be one person wait for somebody to look, and come out when one did."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from migration_assets.adoption import read_adoption
from migration_assets.cli.rehearse import _as_held
from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets.errors import Transient
from migration_assets.manifest import Manifest, Selection, State
from migration_assets.manifest.dead_letters import Choice, Decision
from migration_assets.manifest.remapping import SettledUnit
from migration_assets.manifest.subsets import Subset
from migration_assets.medplum import MedplumClient
from migration_assets.operations.redelivering import redeliver
from migration_assets.operations.rehearsed_rows import landed_rows, live_rows
from migration_assets.operations.rehearsing import Rehearsal, Rehearsed
from migration_assets.pipeline import land, migrate
from migration_assets.run import Run, Window
from migration_assets_tests.conftest import SECRET, Clock
from migration_assets_tests.scripted import NOW, START, ScriptedSource
from migration_assets_tests.steps.test_probable_duplicates import PEOPLE, ZOE

ALIKE: dict[str, Any] = {"names": [ZOE], "birth": "1980-01-02"}
OTHER: dict[str, Any] = {"names": [ZOE], "birth": "1990-01-02"}
SOLE: dict[str, Any] = {"names": [{"family": "Sole", "given": ["Ann"]}], "birth": "1990-01-02"}
PERSONS = replace(PEOPLE, stream="patients")
Word = Callable[..., dict[str, State]]


class Clinic:
    """Patients of a scripted source, delivered to the sandbox."""

    def __init__(self, manifest: Manifest, client: MedplumClient) -> None:
        self.manifest = manifest
        self.client = client
        self.source = ScriptedSource()

    def start(self) -> Run:
        """A new run."""
        number = self.manifest.start_run("test", pipeline_version="0")
        return Run(
            id=number,
            label=f"run-{number}",
            manifest=self.manifest,
            puller=self.source,
            adoption=read_adoption('Patient = "backfill"'),
            fhir=self.client,
            deadline_seconds=30,
        )

    def migrate(self, subset: Subset | None = None) -> dict[str, str]:
        """One run; how each unit stands after it: its state, or the reason it is held for."""
        run = self.start()
        land(run, PERSONS, Window(START - timedelta(days=1), None))
        migrate(run, PERSONS, subset)
        return self.stand()

    def stand(self) -> dict[str, str]:
        """How each unit stands."""
        units = self.manifest.landed_units("patients", limit=99)
        settled = self.manifest.remapping.settled([each.id for each in units])
        return {each.unit.key: each.reason or each.state.value for each in settled}

    def held_in_medplum(self) -> list[str]:
        """The source keys that Medplum has."""
        found = self.client.search("Patient", {"_count": "100"})
        return sorted(each["identifier"][0]["value"] for each in found)

    def send_on(self, *keys: str) -> None:
        """Somebody looked: these are different people."""
        run = self.start()
        chosen = Selection(keys=keys)
        redeliver(run, [PERSONS], chosen, Decision(by="anna", choice=Choice.REDELIVER))


@pytest.fixture
def clinic(manifest: Manifest, clock: Clock, running: Sandbox) -> Clinic:
    clock.now = NOW
    running.reset()
    return Clinic(manifest, MedplumClient(running.base_url, running.client_id, SecretStr(SECRET)))


def test_of_two_that_come_together_neither_is_written_and_nobody_else_waits(
    clinic: Clinic,
) -> None:
    for key, row in {"A": ALIKE, "B": ALIKE, "C": OTHER}.items():
        clinic.source.put("patients", key, **row)
    held = {"A": "probable-duplicate", "B": "probable-duplicate", "C": "migrated"}
    assert clinic.migrate() == held
    assert clinic.held_in_medplum() == ["C"]
    assert clinic.migrate() == held | {"C": "unchanged"}
    (told,) = clinic.manifest.exceptions("patients")
    assert (told.reason, told.field, told.count) == (
        "probable-duplicate",
        "same-name-and-birth-date",
        2,
    )


def test_one_that_comes_later_is_held_and_changes_of_the_first_still_arrive(
    clinic: Clinic,
) -> None:
    """To keep back the changes of a record that Medplum has would make it stale, and no less."""
    clinic.source.put("patients", "A", **ALIKE)
    clinic.migrate()
    clinic.source.put("patients", "B", at=1, **ALIKE)
    clinic.source.put("patients", "A", at=2, **ALIKE, identifiers=({"system": "s", "value": "1"},))
    assert clinic.migrate() == {"A": "migrated", "B": "probable-duplicate"}
    assert clinic.held_in_medplum() == ["A"]


@pytest.mark.parametrize("end", ["deleted", "merged", "changed"])
def test_who_is_alone_again_is_delivered_without_anybody_asking(clinic: Clinic, end: str) -> None:
    clinic.source.put("patients", "A", **ALIKE)
    clinic.source.put("patients", "B", **ALIKE)
    clinic.migrate()
    if end == "deleted":
        clinic.source.delete("patients", "A", at=1)
    else:
        clinic.source.put("patients", "A", at=1, **(OTHER if end == "changed" else ALIKE))
    if end == "merged":
        row = clinic.source.drop("patients", "A")
        clinic.source.rows["patients"].append(replace(row, merged_into="B"))
    assert clinic.migrate()["B"] == "migrated"
    assert clinic.held_in_medplum() == (["B"] if end == "deleted" else ["A", "B"])


def test_two_whom_somebody_took_for_two_people_go_out_and_stay(clinic: Clinic) -> None:
    clinic.source.put("patients", "A", **ALIKE)
    clinic.source.put("patients", "B", **ALIKE)
    clinic.migrate()
    clinic.send_on("A", "B")
    assert set(clinic.migrate().values()) == {"migrated"}
    clinic.source.put("patients", "B", at=5, **ALIKE, identifiers=({"system": "s", "value": "1"},))
    assert clinic.migrate() == {"A": "unchanged", "B": "migrated"}
    clinic.source.put("patients", "D", at=6, **ALIKE)
    assert clinic.migrate()["D"] == "probable-duplicate"


def test_a_decision_about_other_content_counts_no_more(clinic: Clinic) -> None:
    """Anna looked at two rows; one of them changed before it was sent."""
    clinic.source.put("patients", "A", **ALIKE)
    clinic.source.put("patients", "B", **ALIKE)
    clinic.migrate()
    clinic.send_on("A", "B")
    clinic.source.put("patients", "B", at=5, **ALIKE, identifiers=({"system": "s", "value": "1"},))
    assert clinic.migrate() == {"A": "migrated", "B": "probable-duplicate"}


def test_a_subset_leaves_the_others_as_they_are_and_lets_nobody_through(clinic: Clinic) -> None:
    """Whoever delivers some keys has said nothing about the rest, which are still compared."""
    for key in ("A", "B"):
        clinic.source.put("patients", key, **ALIKE)
    held = {"A": "probable-duplicate", "B": "pending"}
    assert clinic.migrate(Subset(keys=("A",))) == held
    assert clinic.held_in_medplum() == []


def test_a_row_that_broke_is_still_the_person_it_was(clinic: Clinic) -> None:
    """Medplum holds the person as the row was before: a second one would be a double."""
    clinic.source.put("patients", "A", **ALIKE)
    clinic.migrate()
    clinic.source.put("patients", "A", at=1, **ALIKE | {"birth": "crash"})
    clinic.source.put("patients", "B", at=1, **ALIKE)
    assert clinic.migrate() == {"A": "mapping-error", "B": "probable-duplicate"}


def test_nobody_is_held_beside_the_run_that_delivers_them(clinic: Clinic) -> None:
    """It may have sent them already: they would be called held, and Medplum would have them."""
    for key in ("A", "B"):
        clinic.source.put("patients", key, **ALIKE)
    run = clinic.start()
    land(run, PERSONS, Window(START - timedelta(days=1), None))
    with clinic.manifest.lease("Patient", "another run"), pytest.raises(Transient):
        migrate(run, PERSONS)
    assert clinic.stand() == {"A": "pending", "B": "pending"}


@pytest.mark.parametrize("live", [False, True])
def test_a_rehearsal_foretells_who_will_be_held(clinic: Clinic, *, live: bool) -> None:
    clinic.source.put("patients", "A", **ALIKE)
    clinic.migrate()
    for key, row in {"B": ALIKE, "C": OTHER, "D": OTHER, "E": SOLE}.items():
        clinic.source.put("patients", key, at=1, **row)
    land(clinic.start(), PERSONS, Window(START, None))

    def rows(stream: str) -> Iterator[list[SettledUnit]]:
        whole = Subset()
        if live:
            return live_rows(clinic.manifest, clinic.source, stream, whole)
        return landed_rows(clinic.manifest, stream, whole)

    told = Rehearsed("Patient")
    rehearsal = Rehearsal(clinic.manifest, clinic.client, read_adoption('Patient = "backfill"'))
    for each in rehearsal.rehearse(PERSONS, _as_held(clinic.manifest, PERSONS, rows, live=live)):
        told.add(each)
    why = (State.QUARANTINED, "probable-duplicate", "same-name-and-birth-date")
    assert told.keys[why] == ["B", "C", "D"]
    assert told.states == {State.QUARANTINED: 3, State.MIGRATED: 1, State.UNCHANGED: 1}
    after = clinic.migrate()
    assert [key for key, state in after.items() if state == why[1]] == ["B", "C", "D"]
