"""From an event to a resource in Medplum: the sensor sees it, the job delivers it."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from pydantic import SecretStr

from migration_assets.defs import inbox
from migration_assets.defs.back_off import EVERYTHING, read_back_off
from migration_assets.defs.checks import ACCOUNTED
from migration_assets.fhir.identifiers import identifier_system
from migration_assets.manifest import State
from migration_assets.medplum import MedplumClient
from migration_assets_tests.defs.small_clinic import SECRET, SmallClinic, checked, failure
from migration_assets_tests.inbox.door import Door, door, fhir_patient


@contextmanager
def opened(clinic: SmallClinic) -> Iterator[Door]:
    """The inbox of the clinic, on a real socket."""
    with (
        clinic.connections.manifest() as manifest,
        door(
            manifest,
            clock=clinic.connections.clock,
            mappings=tuple(clinic.mappings.values()),
            source=clinic.connections.source(),
            adoption=(clinic.folder / "adoption.toml").read_text(),
        ) as made,
    ):
        yield made


def tick(clinic: SmallClinic, cursor: str | None = None) -> dg.SensorResult | dg.SkipReason:
    """The sensor looks."""
    made = clinic.definitions
    context = dg.build_sensor_context(
        instance=clinic.instance,
        definitions=made,
        resources={"connections": clinic.connections},
        cursor=cursor,
    )
    said = made.resolve_sensor_def(inbox.SENSOR)(context)
    assert isinstance(said, dg.SensorResult | dg.SkipReason)
    return said


def why(said: dg.SensorResult | dg.SkipReason) -> str:
    """Why nothing is started."""
    found = said.skip_reason if isinstance(said, dg.SensorResult) else said
    return str(found.skip_message if isinstance(found, dg.SkipReason) else found)


def held(clinic: SmallClinic, kind: str, key: str) -> list[dict[str, Any]]:
    """What a search in Medplum finds of a record."""
    sandbox = clinic.sandbox
    client = MedplumClient(sandbox.base_url, sandbox.client_id, SecretStr(SECRET))
    with closing(client):
        return client.search(kind, {"identifier": f"{identifier_system(kind)}|{key}"})


def row(key: str, **content: Any) -> dict[str, Any]:
    """A patient as the clinic's API has one."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return {"patient_id": key, "last_name": "Doe", "gender": "F", "updated_at": now, **content}


def test_an_event_is_searchable_in_medplum_after_one_tick_and_one_run(clinic: SmallClinic) -> None:
    """Of either kind; what refers to somebody who comes in the same run follows in it."""
    assert why(tick(clinic)) == "No event waits."
    organization = {"reference": f"Organization?identifier={identifier_system('Organization')}|O9"}
    with opened(clinic) as inbox_:
        inbox_.send("/events/patients", row("P8", organization_id="O9"), key="a")
        moment = datetime.now(UTC)
        sent = fhir_patient("P9", moment, managingOrganization=organization, gender="male")
        inbox_.send("/fhir/Patient", sent, key="b")
        said = tick(clinic)
        assert isinstance(said, dg.SensorResult)
        assert said.run_requests
        assert clinic.job(inbox.JOB).success
        assert held(clinic, "Patient", "P9") == []  # O9 is not there yet: both wait
        inbox_.send(
            "/events/organizations", {**row(""), "organization_id": "O9", "name": "Nine"}, key="c"
        )
        assert clinic.job(inbox.JOB).success
    for key in ("P8", "P9"):
        (patient,) = held(clinic, "Patient", key)
        assert patient["managingOrganization"]["reference"].startswith("Organization/")
    assert why(tick(clinic)) == "No event waits."
    with clinic.connections.manifest() as manifest:
        for balance in manifest.balances().values():
            assert balance.holds
            assert balance.eligible == balance.by_state[State.MIGRATED]


def test_the_pull_that_follows_events_finds_nothing_to_do(clinic: SmallClinic) -> None:
    with closing(clinic.connections.puller()) as puller, opened(clinic) as inbox_:
        for stream in ("organizations", "patients"):
            rows = [each.row for page in puller.pages(stream, None, None) for each in page.rows]
            told = inbox_.send(f"/events/{stream}", rows, key=stream)
            assert told.body["landed"]["new"] == len(rows)
    clinic.job(inbox.JOB)
    before = clinic.sandbox.stats()["versions"]
    clinic.run()
    assert clinic.sandbox.stats()["versions"] == before
    with clinic.connections.manifest() as manifest:
        assert manifest.balances()["patients"].by_state[State.UNCHANGED] == 3


@pytest.mark.parametrize("phase", ["rehearse", "write"])
def test_events_of_a_type_that_is_not_delivered_start_nothing(
    clinic: SmallClinic, phase: str
) -> None:
    clinic.phases(Patient=phase)
    with opened(clinic) as inbox_:
        assert inbox_.send("/events/patients", row("P8")).body["waits"]
    assert why(tick(clinic)) == "No event waits."
    assert clinic.job(inbox.JOB).success
    assert held(clinic, "Patient", "P8") == []
    with clinic.connections.manifest() as manifest:
        assert manifest.inbox.waiting(["patients"]) == 1
    if phase == "write":
        said = checked(clinic.run("Patient"), "Patient", ACCOUNTED)
        assert not said.passed
        assert "1 event that services sent stays on account" in str(said.description)


def test_a_type_at_work_is_left_to_its_run_and_a_failure_is_not_repeated_at_once(
    clinic: SmallClinic,
) -> None:
    with opened(clinic) as inbox_:
        inbox_.send("/events/patients", row("P8"))
    run = clinic.definitions.resolve_job_def("redeliver")
    asked = {"ops": {"redeliver_rows": {"config": {"by": "ann"}}}}
    working = clinic.instance.create_run_for_job(
        run, run_config=asked, status=dg.DagsterRunStatus.STARTED
    )
    assert "Left to the runs at work" in why(tick(clinic))
    clinic.instance.delete_run(working.run_id)
    own = clinic.definitions.resolve_job_def(inbox.JOB)
    working = clinic.instance.create_run_for_job(own, status=dg.DagsterRunStatus.STARTING)
    assert "queued or running" in why(tick(clinic))
    clinic.instance.delete_run(working.run_id)
    clinic.setting("MEDPLUM_BASE_URL", "http://127.0.0.1:9/")
    clinic.setting("MIGRATION_DEADLINE_SECONDS", 1)
    failed = clinic.job(inbox.JOB)
    assert "127.0.0.1" in failure(failed, inbox.OP)
    said = tick(clinic)
    assert "Resting" in why(said)
    assert isinstance(said, dg.SensorResult)
    clinic.ahead = timedelta(minutes=1)
    again = tick(clinic, said.cursor)
    assert isinstance(again, dg.SensorResult)
    assert again.run_requests
    assert read_back_off(again.cursor).resting[EVERYTHING].failures == 1


def test_while_a_run_writes_the_type_its_events_stay_and_the_job_says_so(
    clinic: SmallClinic,
) -> None:
    with opened(clinic) as inbox_:
        inbox_.send("/events/patients", row("P8"))
    with clinic.connections.manifest() as manifest, manifest.lease("Patient", "somebody"):
        assert clinic.job(inbox.JOB).success
        assert manifest.inbox.waiting(["patients"]) == 1
    assert clinic.job(inbox.JOB).success
    assert len(held(clinic, "Patient", "P8")) == 1
