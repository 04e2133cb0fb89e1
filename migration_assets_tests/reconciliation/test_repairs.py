"""What a repair may touch, and above all what it must leave alone."""

from typing import Any

import pytest

from migration_assets.adoption import read_adoption
from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets.errors import Permanent
from migration_assets.manifest import Attempt, Settlement, State
from migration_assets.mapping import Mapping
from migration_assets.operations.purging import purge
from migration_assets.operations.repairing import Repair, Repaired, repair
from migration_assets.reconciliation.findings import Comparison, Kind
from migration_assets.reconciliation.referenced import check_references
from migration_assets.retention import read_policy
from migration_assets.run import Run
from migration_assets_tests.reconciliation.clinic import Clinic
from migration_assets_tests.reconciliation.test_references import ENCOUNTERS, check, visits
from migration_assets_tests.scripted import PATIENTS


def mend(
    clinic: Clinic,
    found: Comparison,
    what: Repair,
    mapping: Mapping[Any] = PATIENTS,
    *,
    act: bool = True,
    adoption: str = 'Patient = "backfill"\nEncounter = "backfill"',
) -> Repaired:
    """Repair what was found, or say what that would do."""
    number = clinic.account.start_run("migration reconcile", pipeline_version="0")
    run = Run(
        id=number,
        label=f"repair-{number}",
        manifest=clinic.account,
        puller=clinic.source,
        adoption=read_adoption(adoption),
        fhir=clinic.client,
        deadline_seconds=30,
    )
    return repair(run, mapping, found.evidence.id, what, act=act)


def test_what_is_missing_comes_back_under_its_id_and_only_if_asked_for(on_each: Clinic) -> None:
    """Whatever refers to it finds it again. Without --yes nothing is written."""
    clinic = on_each
    clinic.people(3)
    before = clinic.held("P1")
    clinic.delete("P1")
    found = clinic.compare()
    assert mend(clinic, found, Repair.MISSING, act=False).done == 1
    assert clinic.compare()[Kind.MISSING] == 1
    repaired = mend(clinic, found, Repair.MISSING)
    assert (repaired.done, repaired.left) == (1, {})
    assert clinic.held("P1")["id"] == before["id"]
    assert clinic.compare(deep=True).agrees
    assert clinic.account.balances()["patients"].by_state[State.PENDING] == 0


def test_what_could_not_be_delivered_again_is_not_called_repaired(clinic: Clinic) -> None:
    """Its row was purged: it waits for its window to be pulled, and somebody has to know that."""
    clinic.people(2)
    purge(clinic.account, read_policy("until_migrated"), clinic.clock.now, by="a test")
    clinic.delete("P1")
    repaired = mend(clinic, clinic.compare(), Repair.MISSING)
    assert (repaired.done, repaired.left) == (0, {"payload-purged": 1})


def test_a_resource_that_came_back_meanwhile_is_not_written_again(clinic: Clinic) -> None:
    clinic.people(2)
    body = clinic.held("P1")
    clinic.delete("P1")
    found = clinic.compare()
    clinic.post(body)
    repaired = mend(clinic, found, Repair.MISSING)
    assert (repaired.done, repaired.left) == (0, {"found": 1})


def test_what_only_lost_its_identifier_is_left_to_a_person(clinic: Clinic) -> None:
    clinic.people(2)
    held = clinic.held("P1")
    clinic.put({name: each for name, each in held.items() if name != "identifier"})
    repaired = mend(clinic, clinic.compare(), Repair.MISSING)
    assert (repaired.done, repaired.left) == (0, {"identifier-lost": 1})
    assert len(clinic.client.search("Patient", {})) == 2


def twin_of_ours(clinic: Clinic, key: str) -> str:
    """A twin that an attempt of ours created, as after an answer that got lost; its id."""
    twin = clinic.post(clinic.held(key))
    (resource,) = clinic.client.search("Patient", {"_id": twin})
    account = clinic.account.reconciliations
    (name,) = (e.token for e in account.on_account("Patient") if e.key == key)
    unit = account.held([name])[name].unit_id
    version = resource["meta"]["versionId"]
    attempt = Attempt(name, "POST", "b", 0, "201", "created", None, twin, version)
    tried = Settlement(
        unit_id=unit, revision=0, state=State.PENDING, attempts=(attempt,), targets=()
    )
    clinic.account.history.settle((), [tried], run_id=1)
    return twin


def test_a_twin_that_is_provably_ours_is_deleted(clinic: Clinic) -> None:
    clinic.people(2)
    ours = clinic.held("P1")["id"]
    twin_of_ours(clinic, "P1")
    repaired = mend(clinic, clinic.compare(), Repair.DUPLICATES)
    assert (repaired.done, repaired.left) == (1, {})
    assert clinic.held("P1")["id"] == ours
    assert clinic.compare(deep=True).agrees


def test_a_twin_by_another_writer_is_never_deleted(clinic: Clinic) -> None:
    clinic.people(2)
    clinic.post(clinic.held("P1"))
    repaired = mend(clinic, clinic.compare(), Repair.DUPLICATES)
    assert (repaired.done, repaired.left) == (0, {"not-ours": 1})
    assert clinic.compare()[Kind.DUPLICATE] == 1


def test_a_twin_of_ours_that_somebody_edited_or_refers_to_is_left_alone(clinic: Clinic) -> None:
    clinic.people(3)
    edited, named = twin_of_ours(clinic, "P1"), twin_of_ours(clinic, "P2")
    found = clinic.compare()
    (resource,) = clinic.client.search("Patient", {"_id": edited})
    clinic.put({**resource, "gender": "other"})
    subject = {"reference": f"Patient/{named}"}
    flag = {"resourceType": "Flag", "status": "active", "code": {"text": "x"}}
    clinic.post({**flag, "subject": subject})
    clinic.post({"resourceType": "Basic", "code": {"text": "x"}, "subject": subject})
    repaired = mend(clinic, found, Repair.DUPLICATES)
    assert (repaired.done, repaired.left) == (0, {"edited": 1, "referred-to": 1})


def test_the_last_resource_with_an_identifier_is_never_deleted_as_a_twin(clinic: Clinic) -> None:
    """The one on account was deleted between the comparison and the repair."""
    clinic.people(1)
    ours = clinic.held("P0")["id"]
    twin_of_ours(clinic, "P0")
    found = clinic.compare()
    clinic.send({"request": {"method": "DELETE", "url": f"Patient/{ours}"}})
    repaired = mend(clinic, found, Repair.DUPLICATES)
    assert (repaired.done, repaired.left) == (0, {"the-only-one": 1})


def test_a_reference_is_set_right_and_the_next_delivery_knows_the_version(clinic: Clinic) -> None:
    visits(clinic)
    visit, other = clinic.held("V1", "Encounter"), clinic.held("P2")
    astray = {"reference": f"Patient/{other['id']}", "display": "Somebody else"}
    clinic.put({**visit, "subject": astray})
    assert mend(clinic, check(clinic), Repair.REFERENCES, ENCOUNTERS).done == 1
    assert clinic.held("V1", "Encounter")["subject"] == visit["subject"]
    assert check(clinic).agrees
    assert clinic.compare(ENCOUNTERS, deep=True).agrees
    clinic.source.put("visits", "V1", at=9, patient="P0", organization="O1")
    clinic.migrate()
    assert clinic.account.balances()["visits"].by_state[State.QUARANTINED] == 0
    assert check(clinic).agrees


def test_setting_a_reference_right_keeps_other_edits_and_they_stay_conflicts(
    clinic: Clinic,
) -> None:
    visits(clinic)
    visit, other = clinic.held("V1", "Encounter"), clinic.held("P2")
    subject = {"reference": f"Patient/{other['id']}"}
    clinic.put({**visit, "subject": subject, "status": "cancelled"})
    assert mend(clinic, check(clinic), Repair.REFERENCES, ENCOUNTERS).done == 1
    now = clinic.held("V1", "Encounter")
    assert (now["subject"], now["status"]) == (visit["subject"], "cancelled")
    clinic.source.put("visits", "V1", at=9, patient="P1")
    clinic.migrate()
    assert clinic.account.balances()["visits"].by_state[State.QUARANTINED] == 1
    assert clinic.held("V1", "Encounter")["status"] == "cancelled"


def test_a_type_that_medplum_owns_is_not_repaired(clinic: Clinic) -> None:
    clinic.people(1)
    clinic.delete("P0")
    with pytest.raises(Permanent, match="cannot be repaired"):
        mend(clinic, clinic.compare(), Repair.MISSING, adoption='Patient = "write"')


def test_every_search_for_referrers_is_one_that_medplum_knows(
    clinic: Clinic, sandbox: Sandbox
) -> None:
    """An unknown parameter is refused: the twin would stay for ever, or worse, be deleted."""
    clinic.people(1)
    twin_of_ours(clinic, "P0")
    before = sandbox.stats()["points"]
    assert mend(clinic, clinic.compare(), Repair.DUPLICATES, act=False).done == 1
    assert sandbox.stats()["points"] - before > 75 * 20
    assert check_references(clinic.account, clinic.client, PATIENTS, clock=clinic.clock).agrees
