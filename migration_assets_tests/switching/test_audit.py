"""The audit of dual writes: what services missed is counted, and stays counted once repaired."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from migration_assets.adoption import read_adoption
from migration_assets.adoption.gates import Discrepancy
from migration_assets.fhir.identifiers import identifier_system
from migration_assets.manifest import State
from migration_assets.pipeline import migrate
from migration_assets.run import Run
from migration_assets.switching.audit import audit
from migration_assets_tests.reconciliation.clinic import Clinic
from migration_assets_tests.scripted import PATIENTS, START

DUAL_WRITE = read_adoption('Patient = "dual_write"')


def _written_by_a_service(clinic: Clinic, key: str, family: str) -> str:
    """A service writes a patient to Medplum beside the legacy system."""
    number = {"system": identifier_system("Patient"), "value": key}
    made: dict[str, Any] = {"resourceType": "Patient", "identifier": [number]}
    return clinic.post({**made, "name": [{"family": family}]})


def _services_at_work(clinic: Clinic) -> Run:
    """P0 is as it should be, P1 otherwise, P2 was missed, P3 cannot be mapped."""
    for key in ("P0", "P1", "P2"):
        clinic.source.put("patients", key)
    clinic.source.put("patients", "P3", family=3)
    _written_by_a_service(clinic, "P0", "Doe")
    _written_by_a_service(clinic, "P1", "Somebody")
    return replace(clinic.land(), adoption=DUAL_WRITE)


def _audit(clinic: Clinic, since: datetime = START, *, asks: bool = True) -> Discrepancy:
    fhir = clinic.client if asks else None
    return audit(clinic.account, fhir, DUAL_WRITE, PATIENTS, since=since)


def test_a_repair_does_not_hide_what_services_missed(on_each: Clinic) -> None:
    """The puller repairs within seconds: counted afterwards only, nothing would ever be wrong."""
    run = _services_at_work(on_each)
    before = _audit(on_each)
    assert (before.agreed, before.different, before.missed, before.left_out) == (1, 1, 1, 1)
    assert before.share == 2 / 3
    migrate(run, PATIENTS)
    assert on_each.account.balances()["patients"].by_state[State.PENDING] == 0
    assert _audit(on_each) == before


def test_rows_from_before_the_dual_writes_are_nobodys_omission(clinic: Clinic) -> None:
    _services_at_work(clinic)
    assert _audit(clinic, since=clinic.clock.now).compared == 0


def test_what_medplum_was_not_asked_about_is_unknown_and_not_agreed(clinic: Clinic) -> None:
    _services_at_work(clinic)
    found = _audit(clinic, asks=False)
    assert (found.compared, found.unknown) == (0, 4)


def test_a_service_that_stops_updating_is_found_out(clinic: Clinic) -> None:
    """The first write came from it, the next did not: what is in Medplum is old."""
    run = _services_at_work(clinic)
    migrate(run, PATIENTS)
    clinic.clock.now = clinic.clock.now.replace(hour=23)
    since = clinic.clock.now
    seconds = int((since - START).total_seconds())
    clinic.source.put("patients", "P0", at=seconds, family="Changed")
    run = replace(clinic.land(), adoption=DUAL_WRITE)
    assert _audit(clinic, since=since).different == 1
    migrate(run, PATIENTS)
    assert _audit(clinic, since=since).different == 1
