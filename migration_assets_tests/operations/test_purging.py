"""Purging: rows go, evidence stays, and nothing looks new, changed or lost for it."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from migration_assets.adoption import read_adoption
from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets.manifest import Decision, Manifest, Selection, State
from migration_assets.manifest.collisions import SUPERSEDED
from migration_assets.manifest.landing import PAYLOAD_PURGED
from migration_assets.manifest.payload import PURGED
from migration_assets.manifest.subsets import Subset
from migration_assets.mapping import Mapping, Removal
from migration_assets.medplum import MedplumClient
from migration_assets.operations.purging import Purged, purge, rows_needed
from migration_assets.operations.redelivering import redeliver
from migration_assets.operations.rehearsed_rows import landed_rows
from migration_assets.operations.rehearsing import Rehearsal
from migration_assets.operations.undoing import Desk, undo
from migration_assets.pipeline import Worked, land, migrate
from migration_assets.retention import read_policy
from migration_assets.run import Run, Way, Window
from migration_assets_tests.conftest import SECRET, Clock
from migration_assets_tests.manifest.rows import migrated, row
from migration_assets_tests.manifest.test_sealing import on_disk, stored
from migration_assets_tests.scripted import NOW, ORGANIZATIONS, PATIENTS, ScriptedSource

BACKFILL = 'Organization = "backfill"\nPatient = "backfill"'
AT_ONCE = read_policy("until_migrated")


class Clinic:
    """A scripted source, an account and a Medplum, and the verbs of these tests."""

    def __init__(self, url: str, sandbox: Sandbox, clock: Clock) -> None:
        clock.now = NOW
        self.clock = clock
        self.account = Manifest(url, clock=clock)
        self.client = MedplumClient(sandbox.base_url, sandbox.client_id, SecretStr(SECRET))
        self.sandbox = sandbox
        self.source = ScriptedSource()
        self.organizations: Mapping[Any] = ORGANIZATIONS

    def new_run(self) -> Run:
        """A run over both types."""
        number = self.account.start_run("test", pipeline_version="0")
        return Run(
            id=number,
            label=f"run-{number}",
            manifest=self.account,
            puller=self.source,
            adoption=read_adoption(BACKFILL),
            fhir=self.client,
            deadline_seconds=30,
        )

    def pull(self, *, way: Way = Way.BACKFILL) -> tuple[int, dict[str, Any]]:
        """Land and deliver both types: the run's number, and what landing and passing did."""
        run, told = self.new_run(), {}
        for mapping in (self.organizations, PATIENTS):
            told[mapping.stream] = land(run, mapping, Window(None, None, way=way))
            migrate(run, mapping)
        return run.id, told

    def deliver(self) -> Worked:
        """Deliver what is pending of the organizations."""
        return migrate(self.new_run(), self.organizations)

    def purge(self, **how: Any) -> Purged:
        """Purge everything that is final."""
        return purge(self.account, AT_ONCE, self.clock.now, by="a test", **how)

    def states(self) -> dict[str, tuple[str, str | None]]:
        """State and reason of every organization."""
        with self.account._read.begin() as connection:
            found = connection.execute(
                sa.text("SELECT key, state, reason FROM units WHERE stream = 'organizations'")
            )
            return {each.key: (each.state, each.reason) for each in found}

    def purged(self) -> set[str]:
        """Keys of the organizations whose row is gone."""
        units = self.account.landed_units("organizations", limit=99)
        return {each.key for each in units if each.row is PURGED}

    def versions(self) -> int:
        """How many versions Medplum has made."""
        return int(self.sandbox.stats()["versions"])


@pytest.fixture
def clinic(manifest_url: str, running: Sandbox, clock: Clock) -> Iterator[Clinic]:
    running.reset()
    made = Clinic(manifest_url, running, clock)
    for key, name in (
        ("O1", "one"), ("O2", "two"), ("S1", "skip me"), ("Q1", "quarantine me"), ("C1", "crash"),
    ):  # fmt: skip
        made.source.put("organizations", key, name=name)
    made.source.put("organizations", "W1", parent="missing")
    made.source.put("patients", "P1", organization="O1")
    yield made
    made.account.close()


def test_only_final_rows_go_and_the_balance_the_attempts_and_the_hashes_stay(
    clinic: Clinic,
) -> None:
    clinic.pull()
    before, evidence = clinic.account.balances(), _evidence(clinic.account)
    dry = clinic.purge(act=False)
    assert (dry.rows, clinic.purged()) == ({"organizations": 3, "patients": 1}, set())
    done = clinic.purge()
    assert (done.rows, done.bytes) == (dry.rows, dry.bytes)
    assert clinic.purged() == {"O1", "O2", "S1"}
    assert clinic.account.balances() == before
    assert _evidence(clinic.account) == evidence
    assert clinic.purge().rows == {}
    acts = clinic.account.protection.custody.latest()
    told = {(each.act, each.stream, each.by, each.rows, each.terms) for each in acts}
    assert told == {
        ("purged", "organizations", "a test", 3, "until_migrated"),
        ("purged", "patients", "a test", 1, "until_migrated"),
    }


def _evidence(account: Manifest) -> list[tuple[Any, ...]]:
    with account._read.begin() as connection:
        listed = [
            tuple(each)
            for table in ("attempts", "targets", "decisions")
            for each in connection.execute(sa.text(f"SELECT * FROM {table} ORDER BY id"))  # noqa: S608
        ]
        hashes = connection.execute(sa.text("SELECT id, row_hash, revision FROM units ORDER BY id"))
        return [*listed, *((each.id, bytes(each.row_hash), each.revision) for each in hashes)]


def test_a_purged_row_that_is_pulled_again_is_neither_new_nor_changed_nor_written(
    clinic: Clinic,
) -> None:
    """Were it taken for new, a purge would have every patient written a second time."""
    clinic.pull()
    clinic.purge()
    versions = clinic.versions()
    _run, told = clinic.pull(way=Way.INCREMENTAL)
    landed = told["organizations"]
    assert (landed.new, landed.changed, landed.same) == (0, 0, 6)
    assert clinic.purged() == {"O1", "O2", "S1"}
    _run, told = clinic.pull()  # a window pulled on purpose needs the rows, and lands them again
    landed = told["organizations"]
    assert (landed.new, landed.changed, landed.same) == (0, 0, 6)
    assert clinic.purged() == set()
    assert clinic.states()["O1"] == ("unchanged", None)
    assert clinic.versions() == versions
    assert clinic.purge().rows == {"organizations": 3, "patients": 1}


def test_a_purged_row_that_changed_is_written_and_one_deleted_is_deleted(clinic: Clinic) -> None:
    clinic.pull()
    clinic.purge()
    clinic.source.put("organizations", "O2", at=9, name="renamed")
    clinic.source.delete("patients", "P1", at=9)
    clinic.pull(way=Way.INCREMENTAL)
    assert clinic.states()["O2"] == ("migrated", None)
    (gone,) = clinic.account.landed_units("patients", limit=9)
    assert [each.deleted for each in gone.targets] == [True]
    assert clinic.client.count("Patient") == 0
    assert clinic.account.exceptions("patients") == []


def test_a_new_mapping_version_passes_purged_rows_by_and_a_pull_brings_them_back(
    clinic: Clinic,
) -> None:
    clinic.pull()
    clinic.purge()
    clinic.organizations = replace(ORGANIZATIONS, version="2.0.0")
    remapping = clinic.account.remapping
    assert remapping.count_purged("organizations", "2.0.0") == 3
    remapping.reopen_outdated("organizations", "2.0.0")
    clinic.deliver()
    assert clinic.states()["O1"] == ("migrated", None)  # as it was: not tried, not quarantined
    clinic.pull()
    assert remapping.count_purged("organizations", "2.0.0") == 0
    assert clinic.states()["O1"] == ("unchanged", None)


def test_undoing_needs_no_row_and_redelivering_says_that_its_window_must_be_pulled(
    clinic: Clinic,
) -> None:
    number, _told = clinic.pull()
    clinic.purge()
    desk = Desk(
        manifest=clinic.account,
        fhir=clinic.client,
        adoption=read_adoption(BACKFILL),
        mappings={"Organization": ORGANIZATIONS, "Patient": PATIENTS},
        deadline_seconds=30,
        run_id=clinic.account.start_run("undo", pipeline_version="0"),
    )
    undone = undo(desk, clinic.account.history.runs_called(str(number)))
    assert undone.units >= 3
    assert clinic.states()["O1"] == ("quarantined", "undone")
    redeliver(clinic.new_run(), [ORGANIZATIONS], Selection(keys=("O1",)), Decision(by="a test"))
    clinic.deliver()
    assert clinic.states()["O1"] == ("quarantined", PAYLOAD_PURGED)
    assert clinic.states()["O2"] == ("quarantined", "undone")
    clinic.pull(way=Way.INCREMENTAL)
    assert clinic.states()["O1"] == ("migrated", None)
    assert clinic.states()["O2"] == ("quarantined", "undone")
    redeliver(clinic.new_run(), [ORGANIZATIONS], Selection(keys=("O2",)), Decision(by="a test"))
    clinic.deliver()
    assert clinic.states()["O2"] == ("migrated", None)  # the pull had landed its row again


def test_a_purged_row_whose_link_leads_nowhere_any_more_is_told_and_mended_by_a_pull(
    clinic: Clinic,
) -> None:
    """Nobody can map it again: the patient belonged to a practice that is gone, as «migrated»."""
    clinic.source.put("patients", "P2", organization="O2")
    clinic.pull()
    clinic.purge()
    clinic.source.delete("organizations", "O1", at=9)
    clinic.pull(way=Way.INCREMENTAL)
    theirs = _written_by_somebody(clinic, "O1")
    clinic.source.put("organizations", "O1", at=19, name="one")
    clinic.pull(way=Way.INCREMENTAL)
    told = {(each.reason, each.count) for each in clinic.account.exceptions("patients")}
    assert told == {(PAYLOAD_PURGED, 1)}, "P1, and not P2"
    clinic.pull()
    assert clinic.account.exceptions("patients") == []
    patients = clinic.client.search("Patient", {})
    links = {
        each["identifier"][0]["value"]: each["managingOrganization"]["reference"]
        for each in patients
    }
    assert links["P1"] == f"Organization/{theirs}"


def _written_by_somebody(clinic: Clinic, key: str) -> str:
    body = ORGANIZATIONS.build(ORGANIZATIONS.row(id=key))
    entry = {"resource": body, "request": {"method": "POST", "url": "Organization"}}
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": [entry]}
    (answer,) = clinic.client.post_bundle(orjson.dumps(bundle), 1)
    return str(answer["resource"]["id"])


def test_what_waits_or_may_count_again_keeps_its_row(clinic: Clinic) -> None:
    """Two rows of one key: the one passed over stands in when the other goes."""
    clinic.source.rows["organizations"].append(
        replace(clinic.source.rows["organizations"][0], row={"id": "O1", "name": "other"})
    )
    clinic.pull()
    assert clinic.states()["O1"] == ("quarantined", "duplicate-key")
    (other,) = (key for key in clinic.states() if key.startswith("O1~"))
    run = clinic.new_run()
    clinic.account.decisions.believe("organizations", "O1", Decision(by="a test"), run_id=run.id)
    clinic.deliver()
    assert clinic.states()[other] == ("skipped", SUPERSEDED)
    clinic.purge()
    assert clinic.purged() == {"O1", "O2", "S1"}
    assert clinic.states()["W1"] == ("quarantined", "awaiting-reference")


def test_rows_are_kept_for_as_long_as_the_policy_says(clinic: Clinic) -> None:
    clinic.pull()
    policy = read_policy("30 days; patients: forever")
    clinic.clock.now += timedelta(days=29)
    assert purge(clinic.account, policy, clinic.clock.now, by="a test").rows == {}
    clinic.clock.now += timedelta(days=2)
    assert purge(clinic.account, policy, clinic.clock.now, by="a test").rows == {"organizations": 3}


def test_a_type_that_marks_what_is_deleted_keeps_the_rows_that_say_what_to_mark(
    clinic: Clinic,
) -> None:
    clinic.organizations = replace(ORGANIZATIONS, removal=Removal.INACTIVE)
    clinic.pull()
    keep = rows_needed([clinic.organizations, PATIENTS])
    assert clinic.purge(keep_living=keep).rows == {"patients": 1}
    clinic.source.delete("organizations", "O2", at=9)
    clinic.pull(way=Way.INCREMENTAL)
    assert clinic.states()["O2"] == ("migrated", None)
    assert clinic.purge(keep_living=keep).rows == {"organizations": 1}


def test_a_rehearsal_takes_purged_rows_for_what_they_are(clinic: Clinic) -> None:
    """Told as quarantined, a whole clinic would look broken."""
    clinic.pull()
    clinic.purge()
    rehearsal = Rehearsal(clinic.account, clinic.client, read_adoption(BACKFILL))
    rows = landed_rows(clinic.account, "organizations", Subset())
    looked = rehearsal.rehearse(ORGANIZATIONS, rows)
    found = {each.unit.key: (each.state, each.reason) for each in looked}
    assert found["O1"] == (State.MIGRATED, "")
    assert PAYLOAD_PURGED not in {reason for _state, reason in found.values()}


def test_profiles_and_details_know_a_purged_row_from_an_empty_one(clinic: Clinic) -> None:
    clinic.pull()
    landed = clinic.source.rows["organizations"][0]
    assert landed.changed_at is not None
    assert clinic.account.landed_row("organizations", "O1", landed.changed_at) == landed.row
    clinic.purge()
    assert clinic.account.landed_row("organizations", "O1", landed.changed_at) is None
    keys = {each.key for page in clinic.account.contents.rows("organizations") for each in page}
    assert keys == {"W1", "Q1", "C1"}
    assert clinic.account.contents.purged("organizations") == 3


def test_what_was_dropped_is_gone_from_sqlites_files_and_its_space_can_be_given_back(
    tmp_path: Path, clock: Clock
) -> None:
    """Without secure_delete the rows stand in free pages until something is written over them."""
    url = f"sqlite:///{tmp_path / 'account.db'}"
    account = Manifest(url, clock=clock)
    rows = [row(f"P{n}", name=f"{n * 7919:x}" * 40) for n in range(500)]
    account.land("patients", rows, run_id=1, reopen=False)
    pending = account.pending_units("patients", limit=9_999)
    account.settle([migrated(each) for each in pending], run_id=1)
    kept = stored(account, "payload")
    assert all(each in on_disk(url) for each in kept[:50])
    purge(account, AT_ONCE, clock.now, by="a test")
    left = on_disk(url)
    assert not any(each in left for each in kept)
    size = (tmp_path / "account.db").stat().st_size
    purge(account, AT_ONCE, clock.now, by="a test", release=True)
    assert (tmp_path / "account.db").stat().st_size < size
    account.close()
