"""Undoing a run, against a real account and a real router with a real history."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from migration_assets.adoption import read_adoption
from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets.errors import Permanent
from migration_assets.fhir.identifiers import identifier_system
from migration_assets.fhir.references import reference
from migration_assets.manifest import Manifest, State
from migration_assets.manifest.dead_letters import Choice, Decision, Selection
from migration_assets.mapping import Mapping, Related, Resource, Step
from migration_assets.medplum import MedplumClient
from migration_assets.medplum.bundles import bundle_json
from migration_assets.operations.undoing import Desk, Undone, undo
from migration_assets.pipeline import land, migrate
from migration_assets.run import Run, Window
from migration_assets_tests.conftest import SECRET, Clock
from migration_assets_tests.scripted import (
    NOW,
    ORGANIZATIONS,
    PATIENTS,
    Organization,
    ScriptedSource,
)

BACKFILL = 'Organization = "backfill"\nPatient = "backfill"\nEncounter = "backfill"'


@pytest.fixture
def client(running: Sandbox) -> MedplumClient:
    running.reset()
    return MedplumClient(running.base_url, running.client_id, SecretStr(SECRET))


class Clinic:
    """A scripted source, an account and a Medplum, and the verbs of these tests."""

    def __init__(self, account: Manifest, client: MedplumClient) -> None:
        self.account = account
        self.client = client
        self.source = ScriptedSource()
        self.mappings: tuple[Mapping[Any], ...] = (ORGANIZATIONS, PATIENTS)

    def run(self, *, adoption: str = BACKFILL) -> int:
        """Pull and deliver both types; the run's number."""
        number = self.account.start_run("test", pipeline_version="0")
        run = Run(
            id=number,
            label=f"run-{number}",
            manifest=self.account,
            puller=self.source,
            adoption=read_adoption(adoption),
            fhir=self.client,
            deadline_seconds=30,
        )
        for mapping in self.mappings:
            land(run, mapping, Window(None, None))
            migrate(run, mapping)
        return number

    def undo(self, number: int, *, act: bool = True, client: Any = None) -> Undone:
        """Undo a run, or say what that would do."""
        run_id = self.account.start_run("undo", pipeline_version="0") if act else None
        desk = Desk(
            manifest=self.account,
            fhir=client or self.client,
            adoption=read_adoption(BACKFILL),
            mappings={each.resource_type: each for each in self.mappings},
            deadline_seconds=30,
            run_id=run_id,
        )
        return undo(desk, self.account.history.runs_called(str(number)))

    def held(self, kind: str = "Patient") -> dict[str, Any]:
        """What a search finds: by identifier, the family or the name."""
        return {
            each["identifier"][0]["value"]: each["name"][0]["family"]
            if kind == "Patient"
            else each["name"]
            for each in self.client.search(kind, {})
        }

    def edit(self, kind: str, key: str, **content: Any) -> None:
        """Somebody edits a resource in Medplum."""
        found = next(
            each for each in self.client.search(kind, {}) if each["identifier"][0]["value"] == key
        )
        request = {"method": "PUT", "url": f"{kind}/{found['id']}"}
        entry = {"request": request, "resource": {**found, **content}}
        self.client.post_bundle(bundle_json([orjson.dumps(entry)]), 1)

    def states(self, stream: str = "patients") -> dict[State, int]:
        """Units by state, as far as there are any."""
        balance = self.account.balances()[stream]
        assert balance.holds
        return {state: number for state, number in balance.by_state.items() if number}


@pytest.fixture
def clinic(tmp_path: Path, clock: Clock, client: MedplumClient) -> Iterator[Clinic]:
    clock.now = NOW
    account = Manifest(f"sqlite:///{tmp_path / 'manifest.db'}", clock=clock)
    yield Clinic(account, client)
    account.close()


def counts(undone: Undone) -> dict[str, int]:
    found: dict[str, int] = {}
    for (_kind, event), number in undone.resources.items():
        found[event] = found.get(event, 0) + number
    return found


def reasons(undone: Undone) -> dict[str, int]:
    return {reason: each.units for (_kind, reason), each in undone.refused.items()}


def test_each_kind_of_write_is_what_it_was_before(clinic: Clinic) -> None:
    clinic.source.put("patients", "P1", family="Before")
    clinic.source.put("patients", "P2")
    clinic.run()
    former = {each["id"] for each in clinic.client.search("Patient", {})}
    clinic.source.put("patients", "P1", at=10, family="After")
    clinic.source.delete("patients", "P2", at=10)
    clinic.source.put("patients", "P3", at=10)
    second = clinic.run()
    assert clinic.held() == {"P1": "After", "P3": "Doe"}
    undone = clinic.undo(second)
    assert counts(undone) == {"undone-created": 1, "undone-changed": 1, "undone-deleted": 1}
    assert not undone.refused
    assert clinic.held() == {"P1": "Before", "P2": "Doe"}
    assert {each["id"] for each in clinic.client.search("Patient", {})} == former


def test_a_dry_run_says_the_same_and_writes_nothing(clinic: Clinic, running: Sandbox) -> None:
    clinic.source.put("patients", "P1", family="Before")
    clinic.run()
    clinic.source.put("patients", "P1", at=10, family="After")
    clinic.source.put("patients", "P2", at=10)
    second = clinic.run()
    before, states = running.stats(), clinic.states()
    told = clinic.undo(second, act=False)
    after = running.stats()
    assert [after[each] for each in ("versions", "deletes")] == [
        before[each] for each in ("versions", "deletes")
    ]
    assert clinic.states() == states
    assert counts(told) == counts(clinic.undo(second))


def test_what_was_undone_is_not_written_again_by_the_next_pull(clinic: Clinic) -> None:
    """Neither by one that looks at every row again, nor because the row changes meanwhile."""
    clinic.source.put("patients", "P1")
    clinic.source.put("patients", "P2")
    clinic.undo(clinic.run())
    assert clinic.held() == {}
    clinic.source.put("patients", "P2", at=10, family="Changed")
    clinic.run()
    assert clinic.held() == {}
    assert clinic.states() == {State.QUARANTINED: 2}
    assert {each.reason for each in clinic.account.exceptions()} == {"undone"}


def test_an_edit_made_in_medplum_is_left_alone_and_named(clinic: Clinic) -> None:
    clinic.source.put("patients", "P1")
    clinic.source.put("patients", "P2", family="Before")
    clinic.source.put("patients", "P3")
    clinic.run()
    clinic.source.put("patients", "P2", at=10, family="After")
    clinic.source.put("patients", "P4", at=10)
    clinic.source.put("patients", "P5", at=10)
    second = clinic.run()
    clinic.edit("Patient", "P2", gender="female")
    clinic.edit("Patient", "P4", gender="female")
    undone = clinic.undo(second)
    assert reasons(undone) == {"edited-in-medplum": 2}
    assert undone.refused["Patient", "edited-in-medplum"].keys == ["P4", "P2"]
    assert clinic.held() == {"P1": "Doe", "P2": "After", "P3": "Doe", "P4": "Doe"}
    assert clinic.states() == {State.MIGRATED: 2, State.UNCHANGED: 2, State.QUARANTINED: 1}


def test_an_edit_between_the_look_and_the_write_is_not_taken_back(clinic: Clinic) -> None:
    clinic.source.put("patients", "P1", family="Before")
    clinic.run()
    clinic.source.put("patients", "P1", at=10, family="After")
    clinic.source.put("patients", "P2", at=10)
    second = clinic.run()

    class EditsBeforeTheWrite:
        """Lets somebody edit both just before the first bundle that writes."""

        pacer = clinic.client.pacer
        search = clinic.client.search
        transactions_available = clinic.client.transactions_available
        edited = False

        def post_bundle(self, body: bytes, entries: int) -> list[dict[str, Any]]:
            if b"PUT" in body and not self.edited:
                self.edited = True
                clinic.edit("Patient", "P1", gender="female")
            return clinic.client.post_bundle(body, entries)

    undone = clinic.undo(second, client=EditsBeforeTheWrite())
    assert reasons(undone) == {"edited-in-medplum": 1}
    assert clinic.held() == {"P1": "After"}


def test_a_later_run_must_be_undone_first(clinic: Clinic) -> None:
    """Else the first run's undoing would silently throw away what the second one brought."""
    clinic.source.put("patients", "P1", family="One")
    clinic.run()
    clinic.source.put("patients", "P1", at=10, family="Two")
    second = clinic.run()
    clinic.source.put("patients", "P1", at=20, family="Three")
    third = clinic.run()
    assert reasons(clinic.undo(second)) == {f"written-by-run-{third}": 1}
    assert clinic.held() == {"P1": "Three"}
    clinic.undo(third)
    assert clinic.held() == {"P1": "Two"}
    assert counts(clinic.undo(second)) == {"undone-changed": 1}
    assert clinic.held() == {"P1": "One"}


def test_undone_twice_is_undone_once(clinic: Clinic, running: Sandbox) -> None:
    clinic.source.put("patients", "P1")
    first = clinic.run()
    clinic.undo(first)
    before = running.stats()
    again = clinic.undo(first)
    assert (again.units, again.refused) == (0, {})
    assert running.stats()["versions"] == before["versions"]


@pytest.mark.parametrize("bundle", [0, 1, 2])
def test_cut_off_anywhere_it_is_finished_by_the_next(
    clinic: Clinic, bundle: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Medplum has done it, and the account never heard: the worst moment to die."""
    monkeypatch.setattr("migration_assets.medplum.deliver.MAX_ENTRIES", 1)
    for key in ("P1", "P2"):
        clinic.source.put("patients", key, family="Before")
    clinic.run()
    clinic.source.put("patients", "P1", at=10, family="After")
    clinic.source.delete("patients", "P2", at=10)
    clinic.source.put("patients", "P3", at=10)
    second = clinic.run()

    class Killed(BaseException):
        pass

    class DiesAfter:
        pacer = clinic.client.pacer
        search = clinic.client.search
        transactions_available = clinic.client.transactions_available
        written = 0

        def post_bundle(self, body: bytes, entries: int) -> list[dict[str, Any]]:
            answer = clinic.client.post_bundle(body, entries)
            if b"_history" not in body:
                if self.written == bundle:
                    raise Killed
                self.written += 1
            return answer

    with pytest.raises(Killed):
        clinic.undo(second, client=DiesAfter())
    rest = clinic.undo(second)
    assert not rest.refused
    assert rest.already == 1
    assert clinic.held() == {"P1": "Before", "P2": "Before"}
    assert clinic.states() == {State.QUARANTINED: 3}


def test_a_deleted_one_whose_identifier_somebody_took_is_not_doubled(clinic: Clinic) -> None:
    clinic.source.put("patients", "P1")
    clinic.run()
    resource = clinic.client.search("Patient", {})[0]
    clinic.source.delete("patients", "P1", at=10)
    second = clinic.run()
    other = {name: value for name, value in resource.items() if name not in ("id", "meta")}
    entry = {"request": {"method": "POST", "url": "Patient"}, "resource": other}
    clinic.client.post_bundle(bundle_json([orjson.dumps(entry)]), 1)
    assert reasons(clinic.undo(second)) == {"identifier-taken": 1}
    assert len(clinic.client.search("Patient", {})) == 1


def test_dependants_go_before_what_they_refer_to(clinic: Clinic) -> None:
    clinic.source.put("organizations", "O1")
    clinic.source.put("patients", "P1", organization="O1")
    order: list[str] = []

    class Watched:
        pacer = clinic.client.pacer
        search = clinic.client.search
        transactions_available = clinic.client.transactions_available

        def post_bundle(self, body: bytes, entries: int) -> list[dict[str, Any]]:
            sent = orjson.loads(body)["entry"]
            order.extend(each["request"]["url"].split("/")[0] for each in sent)
            return clinic.client.post_bundle(body, entries)

    clinic.undo(clinic.run(), client=Watched())
    assert order == ["Patient", "Organization"]


def test_a_version_many_edits_ago_is_found(clinic: Clinic) -> None:
    """Each undo makes a version more, and histories come in pages of two and twenty."""
    clinic.source.put("patients", "P1", family="Zero")
    clinic.run()
    numbers = []
    for step in range(1, 25):
        clinic.source.put("patients", "P1", at=step, family=f"F{step}")
        numbers.append(clinic.run())
    for number in reversed(numbers):
        assert not clinic.undo(number).refused
    assert clinic.held() == {"P1": "Zero"}


def test_a_type_that_medplum_owns_by_now_is_not_touched(clinic: Clinic) -> None:
    clinic.source.put("patients", "P1")
    first = clinic.run()
    desk = Desk(
        manifest=clinic.account,
        fhir=clinic.client,
        adoption=read_adoption('Patient = "write"'),
        mappings={"Patient": PATIENTS},
        deadline_seconds=30,
    )
    with pytest.raises(Permanent, match="Patient cannot be undone"):
        undo(desk, clinic.account.history.runs_called(str(first)))


def test_released_by_a_person_it_comes_back_under_its_id(clinic: Clinic) -> None:
    """Whatever refers to it finds it again."""
    clinic.source.put("patients", "P1")
    clinic.run()
    before = clinic.client.search("Patient", {})[0]["id"]
    clinic.undo(1)
    (unit,) = clinic.account.landed_units("patients", limit=1)
    assert all(each.deleted for each in unit.targets)
    clinic.source.put("patients", "P1", at=10, family="Mended")
    clinic.run()
    assert clinic.held() == {}
    decision = Decision(by="a person", choice=Choice.REDELIVER)
    clinic.account.decisions.redeliver(Selection(reason="undone"), decision)
    clinic.run()
    assert clinic.held() == {"P1": "Mended"}
    assert [each["id"] for each in clinic.client.search("Patient", {})] == [before]
    assert counts(clinic.undo(4)) == {"undone-created": 1}


def _visit(row: Organization) -> Related:
    """An encounter and its note, which belong together."""
    encounter: Resource = {
        "resourceType": "Encounter",
        "identifier": [{"system": identifier_system("Encounter"), "value": row.id}],
        "status": "finished",
        "class": {"code": row.name or "AMB"},
    }
    note: Resource = {
        "resourceType": "ClinicalImpression",
        "identifier": [{"system": identifier_system("ClinicalImpression"), "value": row.id}],
        "status": "completed",
        "subject": {"display": "somebody"},
        "encounter": reference("Encounter", row.id),
        "summary": row.name or "AMB",
    }
    return Related((encounter, note))


VISITS = Mapping(
    stream="organizations",
    row=Organization,
    resource_type="Encounter",
    related=("ClinicalImpression",),
    build=_visit,
    version="1.0.0",
    step=Step.HISTORY,
)


@pytest.mark.parametrize("atomic", [True, False])
def test_a_group_is_undone_whole_or_not_at_all(
    clinic: Clinic, running: Sandbox, atomic: bool
) -> None:
    running.change(transactions=atomic)
    clinic.mappings = (VISITS,)
    for key in ("V1", "V2", "V3"):
        clinic.source.put("organizations", key)
    clinic.run()
    for key in ("V1", "V2"):
        clinic.source.put("organizations", key, at=10, name="HH")
    clinic.source.put("organizations", "V4", at=10)
    second = clinic.run()
    clinic.edit("ClinicalImpression", "V2", description="a colleague's word")
    undone = clinic.undo(second)
    running.change(transactions=True)
    assert reasons(undone) == {"edited-in-medplum": 1}
    assert counts(undone) == {"undone-created": 2, "undone-changed": 2}
    for kind, said in (("Encounter", "class"), ("ClinicalImpression", "summary")):
        found = {
            each["identifier"][0]["value"]: str(each[said])
            for each in clinic.client.search(kind, {})
        }
        assert {key: "HH" in text for key, text in found.items()} == {
            "V1": False,
            "V2": True,
            "V3": False,
        }


def test_what_others_refer_to_is_not_deleted_under_them(clinic: Clinic) -> None:
    """A patient of an organization that is not there any more: no search by it finds them."""
    clinic.source.put("organizations", "O1")
    clinic.source.put("organizations", "O2")
    first = clinic.run()
    clinic.source.put("patients", "P1", organization="O1")
    second = clinic.run()
    undone = clinic.undo(first)
    assert reasons(undone) == {"referred-to": 1}
    assert clinic.held("Organization") == {"O1": "O1"}
    clinic.undo(second)
    assert not clinic.undo(first).refused
    assert clinic.held("Organization") == {}


@pytest.mark.parametrize("act", [False, True])
def test_what_is_left_alone_keeps_what_it_refers_to(clinic: Clinic, act: bool) -> None:
    clinic.source.put("organizations", "O1")
    clinic.source.put("patients", "P1", organization="O1")
    first = clinic.run()
    clinic.edit("Patient", "P1", gender="female")
    assert reasons(clinic.undo(first, act=act)) == {"edited-in-medplum": 1, "referred-to": 1}
    assert clinic.held("Organization") == {"O1": "O1"}
