"""Redelivering: what a person decided reaches Medplum, that and nothing else."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from migration_assets.adoption import read_adoption
from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets.errors import Permanent
from migration_assets.fhir.identifiers import identifier_system
from migration_assets.legacy import PulledRow
from migration_assets.manifest import Choice, Decision, Manifest, Selection, State
from migration_assets.mapping import Mapping, Related, Resource
from migration_assets.medplum import Fhir, MedplumClient
from migration_assets.operations.redelivering import redeliver
from migration_assets.pipeline import land, migrate
from migration_assets.run import Run, Way, Window
from migration_assets_tests.blank_accounts import blank_file
from migration_assets_tests.conftest import SECRET, Clock
from migration_assets_tests.scripted import (
    NOW,
    ORGANIZATIONS,
    PATIENTS,
    START,
    Organization,
    Patient,
    ScriptedSource,
    organization,
)

ALL = Window(None, None)
AGAIN = Decision(by="anna", choice=Choice.REDELIVER)
OVERWRITE = replace(AGAIN, approver="bob", overwrites=True)


@pytest.fixture
def client(running: Sandbox) -> MedplumClient:
    running.reset()
    return MedplumClient(running.base_url, running.client_id, SecretStr(SECRET))


@pytest.fixture
def source() -> ScriptedSource:
    return ScriptedSource()


@pytest.fixture
def account(tmp_path: Path, clock: Clock) -> Iterator[Manifest]:
    clock.now = NOW
    manifest = Manifest(blank_file(tmp_path / "manifest.db"), clock=clock)
    yield manifest
    manifest.close()


NewRun = Callable[..., Run]


@pytest.fixture
def new_run(account: Manifest, source: ScriptedSource, client: MedplumClient) -> NewRun:
    def make(*, fhir: Fhir | None = client) -> Run:
        number = account.start_run("test", pipeline_version="0")
        return Run(
            id=number,
            label=f"run-{number}",
            manifest=account,
            puller=source,
            adoption=read_adoption('Organization = "backfill"\nPatient = "backfill"'),
            fhir=fhir,
            deadline_seconds=30,
        )

    return make


def pull(run: Run, mapping: Mapping[Any], window: Window = ALL) -> None:
    land(run, mapping, window)
    migrate(run, mapping)


def again(
    run: Run, mapping: Mapping[Any], decision: Decision = AGAIN, **chosen: Any
) -> dict[tuple[State, str], int]:
    """Redeliver, and how the units ended."""
    due = redeliver(run, [mapping], Selection(**chosen), decision)
    migrate(run, mapping)
    return run.manifest.decisions.outcomes(due.ids)


def reasons(account: Manifest) -> dict[str, int]:
    return {each.reason: each.count for each in account.decisions.groups(Selection())}


def write(client: MedplumClient, method: str, held: Resource, **changes: Any) -> None:
    """Somebody writes into Medplum."""
    entry: dict[str, Any] = {
        "request": {"method": method, "url": f"{held['resourceType']}/{held['id']}"}
    }
    if method == "PUT":
        entry["resource"] = held | changes
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": [entry]}
    client.post_bundle(orjson.dumps(bundle), 1)


def edited(new_run: NewRun, source: ScriptedSource, client: MedplumClient) -> Resource:
    """A patient that was edited in Medplum and changed at the source."""
    source.put("patients", "P1", family="Old")
    pull(new_run(), PATIENTS)
    (held,) = client.search("Patient", {})
    write(client, "PUT", held, name=[{"family": "Theirs"}])
    source.put("patients", "P1", family="Ours", at=5)
    pull(new_run(), PATIENTS)
    assert reasons(new_run().manifest) == {"edited-in-medplum": 1}
    return held


def family(client: MedplumClient) -> str:
    (held,) = client.search("Patient", {})
    return str(held["name"][0]["family"])


def test_a_unit_whose_mapping_was_mended_is_delivered(
    new_run: NewRun, source: ScriptedSource, account: Manifest
) -> None:
    source.put("organizations", "O1", name="crash")
    source.put("organizations", "O2", name="quarantine me")
    pull(new_run(), ORGANIZATIONS)

    def mended(row: Organization) -> Any:
        return organization(replace_name(row))

    def replace_name(row: Organization) -> Organization:
        return row.model_copy(update={"name": "whole"}) if row.name == "crash" else row

    run = new_run()
    mapping = replace(ORGANIZATIONS, build=mended, version="1.0.1")
    assert again(run, mapping, reason="mapping-error") == {(State.MIGRATED, ""): 1}
    assert reasons(account) == {"unmapped-code": 1}


def test_without_approval_an_edit_stays_and_with_it_our_row_is_written_and_named_so(
    new_run: NewRun, source: ScriptedSource, account: Manifest, client: MedplumClient
) -> None:
    edited(new_run, source, client)
    ended = again(new_run(), PATIENTS, reason="edited-in-medplum")
    assert ended == {(State.QUARANTINED, "edited-in-medplum"): 1}
    assert family(client) == "Theirs"
    ended = again(new_run(), PATIENTS, OVERWRITE, reason="edited-in-medplum")
    assert ended == {(State.MIGRATED, ""): 1}
    assert family(client) == "Ours"
    with account._engine.begin() as connection:
        events = connection.exec_driver_sql("SELECT event FROM attempts ORDER BY id").scalars()
        assert list(events)[-1] == "overwrote-edit"
    source.put("patients", "P1", family="Later", at=9)
    pull(new_run(), PATIENTS)
    assert family(client) == "Later"


def test_an_edit_made_after_the_approval_is_not_what_was_approved(
    new_run: NewRun, source: ScriptedSource, account: Manifest, client: MedplumClient
) -> None:
    held = edited(new_run, source, client)
    write(client, "PUT", held, name=[{"family": "Theirs, later"}])
    ended = again(new_run(), PATIENTS, OVERWRITE, reason="edited-in-medplum")
    assert ended == {(State.QUARANTINED, "edited-in-medplum"): 1}
    assert family(client) == "Theirs, later"
    again(new_run(), PATIENTS, OVERWRITE, reason="edited-in-medplum")
    assert family(client) == "Ours"


def _deleted(new_run: NewRun, source: ScriptedSource, client: MedplumClient) -> Resource:
    source.put("patients", "P1", family="Old")
    pull(new_run(), PATIENTS)
    (held,) = client.search("Patient", {})
    write(client, "DELETE", held)
    source.put("patients", "P1", family="Ours", at=5)
    pull(new_run(), PATIENTS)
    return held


def test_what_was_deleted_in_medplum_comes_back_under_its_id_if_that_is_approved(
    new_run: NewRun, source: ScriptedSource, account: Manifest, client: MedplumClient
) -> None:
    """Whatever refers to it finds it again."""
    held = _deleted(new_run, source, client)
    ended = again(new_run(), PATIENTS, reason="deleted-in-medplum")
    assert ended == {(State.QUARANTINED, "deleted-in-medplum"): 1}
    assert client.count("Patient") == 0
    ended = again(new_run(), PATIENTS, OVERWRITE, reason="deleted-in-medplum")
    assert ended == {(State.MIGRATED, ""): 1}
    (back,) = client.search("Patient", {})
    assert (back["id"], back["name"]) == (held["id"], [{"family": "Ours"}])
    (unit,) = account.landed_units("patients", limit=1)
    assert [each.fhir_id for each in unit.targets] == [held["id"]]


def test_bringing_back_needs_medplum_to_say_what_is_gone(
    new_run: NewRun, source: ScriptedSource, account: Manifest, client: MedplumClient
) -> None:
    _deleted(new_run, source, client)
    with pytest.raises(Permanent, match="Medplum must be asked"):
        redeliver(new_run(fhir=None), [PATIENTS], Selection(), OVERWRITE)
    assert reasons(account) == {"deleted-in-medplum": 1}


def test_of_a_group_only_what_is_gone_comes_back_and_an_edit_of_the_rest_is_seen(
    new_run: NewRun, source: ScriptedSource, account: Manifest, client: MedplumClient
) -> None:
    """Approving one thing must not write over another that nobody looked at."""
    both = replace(PATIENTS, build=_with_its_organization, related=("Organization",))
    source.put("patients", "P1", family="Old")
    pull(new_run(), both)
    (mine,) = client.search("Patient", {})
    (other,) = client.search("Organization", {})
    write(client, "DELETE", mine)
    source.put("patients", "P1", family="Ours", at=5)
    pull(new_run(), both)
    assert reasons(account) == {"deleted-in-medplum": 1}
    write(client, "PUT", other, name="Theirs")
    again(new_run(), both, OVERWRITE, reason="deleted-in-medplum")
    assert [each["name"] for each in client.search("Organization", {})] == ["Theirs"]
    assert reasons(account) == {"edited-in-medplum": 1}


def _with_its_organization(row: Patient) -> Related:
    def identified(kind: str) -> Resource:
        element = {"system": identifier_system(kind), "value": row.id}
        return {"resourceType": kind, "identifier": [element]}

    return Related(
        (
            identified("Patient") | {"name": [{"family": row.family}]},
            identified("Organization") | {"name": row.family},
        )
    )


@pytest.mark.parametrize("families", [("One", "Other"), ("Other", "One")])
def test_of_two_rows_with_one_key_the_believed_one_is_the_record_for_good(
    new_run: NewRun,
    source: ScriptedSource,
    account: Manifest,
    client: MedplumClient,
    families: tuple[str, str],
) -> None:
    """Once it stands under the key itself, once beside it: their hashes decide that."""
    wrong, true = families
    source.put("patients", "P1", family=wrong)
    pull(new_run(), PATIENTS)
    (first,) = source.rows["patients"]
    source.rows["patients"].append(replace(first, row={"id": "P1", "family": true}))
    pull(new_run(), PATIENTS)
    assert reasons(account) == {"duplicate-key": 2}
    units = account.landed_units("patients", limit=9)
    right = next(each.key for each in units if each.row["family"] == true)
    run = new_run()
    account.decisions.believe("patients", right, replace(AGAIN, approver="bob"), run_id=run.id)
    migrate(run, PATIENTS)
    for _again in range(2):
        assert family(client) == true
        assert reasons(account) == {"superseded-by-decision": 1}
        pull(new_run(), PATIENTS)
    source.put("patients", "P1", family="Mended", at=9)
    pull(new_run(), PATIENTS, Window(START + timedelta(seconds=1), None, way=Way.INCREMENTAL))
    assert family(client) == "Mended"
    by = "change" if "~" in right else "decision"
    assert reasons(account) == {f"superseded-by-{by}": 1}


def test_one_identifier_from_two_streams_is_written_once_and_the_other_held(
    new_run: NewRun, source: ScriptedSource, account: Manifest, client: MedplumClient
) -> None:
    """The second stream's row would overwrite another's record; accepting it is a way out."""
    source.rows["clients"] = []
    source.put("patients", "P1", family="First")
    source.put("clients", "P1", family="Second")
    clients = replace(PATIENTS, stream="clients")
    pull(new_run(), PATIENTS)
    pull(new_run(), clients)
    pull(new_run(), PATIENTS)
    (held,) = account.decisions.listed(Selection(), limit=9)
    assert (held.stream, held.reason) == ("clients", "identifier-collision")
    assert family(client) == "First"
    assert again(new_run(), clients, streams=("clients",)) == {
        (State.QUARANTINED, "identifier-collision"): 1
    }


def test_what_a_person_took_back_is_released_by_a_person(
    new_run: NewRun, source: ScriptedSource, account: Manifest, clock: Clock
) -> None:
    """A newer row may have landed since; it was never held for what is wrong with it."""
    source.put("patients", "P1")
    pull(new_run(), PATIENTS)
    with account._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE units SET state = 'quarantined', reason = 'undone'")
    clock.now += timedelta(hours=1)
    source.put("patients", "P1", family="Newer", at=5)
    pull(new_run(), PATIENTS)
    assert reasons(account) == {"undone": 1}
    assert again(new_run(), PATIENTS, reason="undone") == {(State.MIGRATED, ""): 1}


def test_a_broken_row_is_not_sent_by_redelivering_it(
    new_run: NewRun, source: ScriptedSource, account: Manifest, client: MedplumClient
) -> None:
    source.rows["patients"].append(PulledRow("P1", {"id": "P1"}, START, False, "invalid-utf8"))
    pull(new_run(), PATIENTS)
    assert again(new_run(), PATIENTS, streams=("patients",)) == {}
    assert client.count("Patient") == 0
