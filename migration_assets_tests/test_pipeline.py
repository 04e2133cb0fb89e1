"""The spine: land, prepare, deliver, settle, against a real account and a real router."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from migration_assets.adoption import read_adoption
from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets.errors import Transient
from migration_assets.fhir.identifiers import identifier_system
from migration_assets.manifest import Manifest, State
from migration_assets.medplum import Ambiguous, Fhir, MedplumClient
from migration_assets.pipeline import Worked, land, migrate
from migration_assets.run import SETTLE_LAG, Run, Way, Window
from migration_assets_tests.blank_accounts import blank_file
from migration_assets_tests.conftest import SECRET, Clock
from migration_assets_tests.scripted import NOW, ORGANIZATIONS, PATIENTS, START, ScriptedSource

ALL = Window(None, None)
BACKFILL = 'Organization = "backfill"\nPatient = "backfill"'


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
    def make(*, adoption: str = BACKFILL, fhir: Fhir | None = client) -> Run:
        number = account.start_run("test", pipeline_version="0")
        return Run(
            id=number,
            label=f"run-{number}",
            manifest=account,
            puller=source,
            adoption=read_adoption(adoption),
            fhir=fhir,
            deadline_seconds=30,
        )

    return make


def everything(run: Run, window: Window = ALL) -> dict[str, Worked]:
    """One run over both types, in order."""
    worked = {}
    for mapping in (ORGANIZATIONS, PATIENTS):
        land(run, mapping, window)
        worked[mapping.resource_type] = migrate(run, mapping)
    return worked


def states(account: Manifest, stream: str) -> dict[State, int]:
    balance = account.balances()[stream]
    assert balance.holds
    return {state: number for state, number in balance.by_state.items() if number}


def reasons(account: Manifest) -> set[tuple[str, str]]:
    return {(each.reason, each.field) for each in account.exceptions()}


def test_rows_arrive_and_a_second_run_writes_nothing(
    new_run: NewRun, source: ScriptedSource, account: Manifest, running: Sandbox
) -> None:
    source.put("organizations", "O1")
    for n in range(5):
        source.put("patients", f"P{n}", organization="O1")
    everything(new_run())
    assert states(account, "patients") == {State.MIGRATED: 5}
    before = running.stats()
    everything(new_run())
    assert states(account, "patients") == {State.UNCHANGED: 5}
    after = running.stats()
    assert (after["versions"], after["unchanged"]) == (before["versions"], before["unchanged"])


def test_each_way_out_of_a_mapping_is_an_explained_outcome(
    new_run: NewRun, source: ScriptedSource, account: Manifest
) -> None:
    for key, name in {
        "O1": "skip me",
        "O2": "quarantine me",
        "O3": "crash",
        "O4": "x" * 3000,
    }.items():
        source.put("organizations", key, name=name)
    source.put("organizations", "O5", name=7)
    source.put("organizations", "O6", name="good")
    everything(new_run())
    assert states(account, "organizations")[State.MIGRATED] >= 1
    assert {
        ("test-record", ""),
        ("unmapped-code", "name"),
        ("mapping-error", "ZeroDivisionError"),
        ("row-string-type", "name"),
    } <= reasons(account)
    assert "CANARY" not in str(account.exceptions())


def test_a_row_waits_for_its_reference_and_its_arrival_releases_it(
    new_run: NewRun, source: ScriptedSource, account: Manifest
) -> None:
    source.put("patients", "P1", organization="O1")
    everything(new_run())
    assert reasons(account) == {("awaiting-reference", "Patient.managingOrganization")}
    source.put("organizations", "O1", at=5)
    everything(new_run(), Window(START + timedelta(seconds=1), None, way=Way.INCREMENTAL))
    assert states(account, "patients") == {State.MIGRATED: 1}


def test_a_reference_to_what_somebody_else_wrote_into_medplum_is_found(
    new_run: NewRun, source: ScriptedSource, account: Manifest, client: MedplumClient
) -> None:
    client.post_bundle(_organization_of_others("O1"), 1)
    source.put("patients", "P1", organization="O1")
    everything(new_run())
    assert states(account, "patients") == {State.MIGRATED: 1}


def test_a_target_that_somebody_else_wrote_later_releases_who_waits_for_it(
    new_run: NewRun, source: ScriptedSource, account: Manifest, client: MedplumClient
) -> None:
    """Its own row will never land here, and the waiting row does not change any more."""
    source.put("patients", "P1", organization="O1")
    everything(new_run())
    assert reasons(account) == {("awaiting-reference", "Patient.managingOrganization")}
    client.post_bundle(_organization_of_others("O1"), 1)
    migrate(new_run(), PATIENTS)
    assert states(account, "patients") == {State.MIGRATED: 1}


def test_a_create_only_type_is_seeded_once_and_what_was_there_stays(
    new_run: NewRun, source: ScriptedSource, account: Manifest, client: MedplumClient
) -> None:
    seeded = replace(ORGANIZATIONS, create_only=True)
    client.post_bundle(_organization_of_others("O1"), 1)
    for name in ("ours", "ours, changed"):
        for key in ("O1", "O2"):
            source.put("organizations", key, name=f"{name} {key}")
        land(new_run(), seeded, ALL)
        migrate(new_run(), seeded)
        held = {each["name"] for each in client.search("Organization", {})}
        assert held == {"theirs", "ours O2"}
    assert states(account, "organizations") == {State.UNCHANGED: 2}


def _organization_of_others(key: str) -> bytes:
    body = (
        b'{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"POST",'
        b'"url":"Organization"},"resource":{"resourceType":"Organization","name":"theirs",'
        b'"identifier":[{"system":"%s","value":"%s"}]}}]}'
    )
    return body % (identifier_system("Organization").encode(), key.encode())


def test_a_parent_that_comes_after_its_child_is_resolved_in_the_same_run(
    new_run: NewRun, source: ScriptedSource, account: Manifest
) -> None:
    source.put("organizations", "O1", parent="O2")
    source.put("organizations", "O2", parent="O3", at=1)
    source.put("organizations", "O3", at=2)
    everything(new_run())
    assert states(account, "organizations") == {State.MIGRATED: 3}


def test_organizations_in_a_circle_wait_visibly_and_block_nobody(
    new_run: NewRun, source: ScriptedSource, account: Manifest
) -> None:
    source.put("organizations", "O1", parent="O2")
    source.put("organizations", "O2", parent="O1")
    source.put("organizations", "O3")
    everything(new_run())
    assert states(account, "organizations") == {State.MIGRATED: 1, State.QUARANTINED: 2}


def test_a_rehearsal_writes_nothing_and_still_finds_what_is_wrong(
    new_run: NewRun, source: ScriptedSource, account: Manifest, running: Sandbox, client: Any
) -> None:
    source.put("organizations", "O1", name="quarantine me")
    source.put("organizations", "O2")
    everything(new_run(adoption=""))
    assert states(account, "organizations") == {State.QUARANTINED: 1, State.PENDING: 1}
    assert running.stats()["versions"] == 0
    everything(new_run())
    assert states(account, "organizations") == {State.QUARANTINED: 1, State.MIGRATED: 1}


def test_a_deleted_row_is_deleted_in_medplum_and_one_never_sent_is_skipped(
    new_run: NewRun, source: ScriptedSource, account: Manifest, client: MedplumClient
) -> None:
    source.put("patients", "P1")
    everything(new_run())
    source.delete("patients", "P1", at=5)
    source.delete("patients", "P2", at=5)
    everything(new_run())
    assert client.count("Patient") == 0
    assert states(account, "patients") == {State.MIGRATED: 1, State.SKIPPED: 1}
    everything(new_run())
    assert states(account, "patients") == {State.UNCHANGED: 1, State.SKIPPED: 1}


def test_a_changed_row_is_one_new_version(
    new_run: NewRun, source: ScriptedSource, account: Manifest, client: MedplumClient
) -> None:
    source.put("patients", "P1")
    everything(new_run())
    source.put("patients", "P1", family="Smith", at=5)
    worked = everything(new_run())
    assert worked["Patient"].events == {"changed": 1}
    (held,) = client.search("Patient", {})
    assert held["name"] == [{"family": "Smith"}]


def test_a_source_that_dies_midway_keeps_what_landed_and_does_not_move_the_mark(
    new_run: NewRun, source: ScriptedSource, account: Manifest
) -> None:
    for n in range(6):
        source.put("organizations", f"O{n}", at=n)
    source.fail_at = 2
    with pytest.raises(Transient):
        everything(new_run(), Window(START, None, way=Way.INCREMENTAL))
    assert account.high_water_mark("organizations") == NOW - SETTLE_LAG
    assert states(account, "organizations") == {State.PENDING: 2}
    source.fail_at = None
    everything(new_run())
    assert states(account, "organizations") == {State.MIGRATED: 6}


def test_a_row_dated_in_the_future_does_not_carry_the_mark_along(
    new_run: NewRun, source: ScriptedSource, account: Manifest
) -> None:
    """legacy-apis §1.4: one row dated 2099 stopped other pullers until then."""
    source.put("organizations", "O1", at=3_000_000_000)
    land(new_run(), ORGANIZATIONS, ALL)
    assert account.high_water_mark("organizations") == NOW - SETTLE_LAG
    assert states(account, "organizations") == {State.PENDING: 1}


def test_a_source_whose_clock_stands_in_the_future_does_not_carry_the_mark_there(
    new_run: NewRun, source: ScriptedSource, account: Manifest
) -> None:
    """The mark never moves back: every change until that day would go unread."""
    source.now = NOW + timedelta(days=400)
    source.put("organizations", "O1", at=3_000_000_000)
    land(new_run(), ORGANIZATIONS, ALL)
    land(new_run(), PATIENTS, ALL)  # an empty stream takes its mark from the source's clock alone
    for stream in ("organizations", "patients"):
        mark = account.high_water_mark(stream)
        assert mark is not None
        assert mark <= NOW


def test_a_row_dated_in_the_future_is_still_heard_when_it_is_mended(
    new_run: NewRun, source: ScriptedSource, account: Manifest, client: MedplumClient
) -> None:
    source.put("patients", "P1", family="Old", at=3_000_000_000)
    everything(new_run())
    source.put("patients", "P1", family="New", at=5)
    everything(new_run())
    (held,) = client.search("Patient", {})
    assert held["name"] == [{"family": "New"}]


def test_no_bundle_is_sent_after_another_run_took_the_lease_over(
    new_run: NewRun, source: ScriptedSource, account: Manifest, client: MedplumClient, clock: Clock
) -> None:
    """Two creating writers double records; a wait for quota may outlast the lease."""

    class Slow(Dying):
        def search(self, resource_type: str, params: Mapping[str, str]) -> list[dict[str, Any]]:
            clock.now += timedelta(hours=1)
            with account.lease("Patient", "another run"):
                return self._client.search(resource_type, params)

    source.put("patients", "P1")
    run = new_run(fhir=Slow(client))
    land(run, PATIENTS, ALL)
    with pytest.raises(Transient, match="took over"):
        migrate(run, PATIENTS)
    assert client.count("Patient") == 0
    assert states(account, "patients") == {State.PENDING: 1}


def test_a_record_deleted_in_medplum_by_somebody_else_is_for_a_person_to_look_at(
    new_run: NewRun, source: ScriptedSource, account: Manifest, client: MedplumClient
) -> None:
    """Also when the row goes back to what Medplum had last confirmed."""
    source.put("patients", "P1")
    everything(new_run())
    (held,) = client.search("Patient", {})
    client.post_bundle(
        b'{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"DELETE","url":'
        b'"Patient/%s"}}]}' % held["id"].encode(),
        1,
    )
    for at, family in enumerate(["Smith", "Doe"], start=5):
        source.put("patients", "P1", family=family, at=at)
        everything(new_run())
        assert reasons(account) == {("deleted-in-medplum", "")}
    assert client.count("Patient") == 0


def test_the_incremental_start_is_fixed_before_the_first_slice(
    new_run: NewRun, source: ScriptedSource, account: Manifest
) -> None:
    """A row that changes while older slices are read leaves its slice: who reads it then?"""
    source.put("organizations", "O1")
    source.put("organizations", "O2", at=200_000)
    land(new_run(), ORGANIZATIONS, Window(None, START + timedelta(days=1), partition="2026-01-01"))
    assert account.high_water_mark("organizations") == NOW - SETTLE_LAG
    source.now = NOW + timedelta(hours=1)
    changed = int((source.now - START).total_seconds()) - 60
    source.put("organizations", "O2", name="changed", at=changed)
    later = Window(START + timedelta(days=1), START + timedelta(days=9), partition="2026-01-02")
    land(new_run(), ORGANIZATIONS, later)
    assert sum(states(account, "organizations").values()) == 1
    mark = account.high_water_mark("organizations")
    land(new_run(), ORGANIZATIONS, Window(mark, None, way=Way.INCREMENTAL))
    assert sum(states(account, "organizations").values()) == 2


def test_a_backfill_never_moves_the_mark_over_what_was_not_pulled_yet(
    new_run: NewRun, source: ScriptedSource, account: Manifest
) -> None:
    """Pulling stood still since the mark: the open month alone says nothing of the one before."""
    source.put("organizations", "O1")
    land(new_run(), ORGANIZATIONS, ALL)
    source.now = NOW + timedelta(days=40)
    open_month = NOW + timedelta(days=30)
    missed = int((NOW + timedelta(days=10) - START).total_seconds())
    source.put("organizations", "O2", at=missed)
    source.put("organizations", "O3", at=missed + 25 * 86_400)
    land(new_run(), ORGANIZATIONS, Window(open_month, None, partition="2026-12"))
    assert account.high_water_mark("organizations") == NOW - SETTLE_LAG


def test_an_identifier_that_two_rows_claim_overwrites_nobody(
    new_run: NewRun, source: ScriptedSource, account: Manifest, client: MedplumClient
) -> None:
    source.put("patients", "P1", family="First")
    everything(new_run())
    (row,) = source.rows["patients"]
    thief = {"id": "P1", "family": "Second"}
    source.rows["patients"].append(type(row)("P9", thief, row.changed_at, False, None))
    everything(new_run())
    assert reasons(account) == {("identifier-collision", "")}
    (held,) = client.search("Patient", {})
    assert held["name"] == [{"family": "First"}]


class Dying:
    """Medplum's client in a process that dies after Medplum accepted and before we settled."""

    def __init__(self, client: MedplumClient) -> None:
        self._client = client
        self.pacer = client.pacer

    def post_bundle(self, body: bytes, entries: int) -> list[dict[str, Any]]:
        """Accepted, and then nothing."""
        self._client.post_bundle(body, entries)
        raise KeyboardInterrupt

    def search(self, resource_type: str, params: Mapping[str, str]) -> list[dict[str, Any]]:
        """Search for real."""
        return self._client.search(resource_type, params)

    def transactions_available(self) -> bool:
        """Ask for real."""
        return self._client.transactions_available()


@pytest.mark.parametrize("strategy", ["shared", "exclusive"])
def test_a_crash_after_medplum_accepts_does_not_write_twice(
    new_run: NewRun,
    source: ScriptedSource,
    account: Manifest,
    client: MedplumClient,
    strategy: str,
) -> None:
    adoption = f'Organization = "backfill"\n[Patient]\nphase="backfill"\nstrategy="{strategy}"'
    source.put("patients", "P1")
    land(new_run(), PATIENTS, ALL)
    with pytest.raises(KeyboardInterrupt):
        migrate(new_run(adoption=adoption, fhir=Dying(client)), PATIENTS)
    assert states(account, "patients") == {State.PENDING: 1}
    migrate(new_run(adoption=adoption), PATIENTS)
    assert client.count("Patient") == 1
    assert states(account, "patients")[State.UNCHANGED] == 1


def test_a_row_deleted_after_such_a_crash_is_still_deleted_in_medplum(
    new_run: NewRun, source: ScriptedSource, account: Manifest, client: MedplumClient
) -> None:
    """The account knows what was intended, so the tombstone finds what was never confirmed."""
    source.put("patients", "P1")
    land(new_run(), PATIENTS, ALL)
    with pytest.raises(KeyboardInterrupt):
        migrate(new_run(fhir=Dying(client)), PATIENTS)
    source.delete("patients", "P1", at=5)
    everything(new_run())
    assert client.count("Patient") == 0
    assert states(account, "patients") == {State.MIGRATED: 1}


def test_units_that_medplum_would_not_take_in_time_stay_pending_and_the_run_says_so(
    new_run: NewRun, source: ScriptedSource, account: Manifest, client: MedplumClient
) -> None:
    class Down(Dying):
        def post_bundle(self, body: bytes, entries: int) -> list[dict[str, Any]]:
            raise Ambiguous("no answer")

    source.put("patients", "P1")
    run = new_run(fhir=Down(client))
    land(run, PATIENTS, ALL)
    with pytest.raises(Transient, match="1 Patient units stay pending"):
        migrate(Run(**{**vars(run), "deadline_seconds": -1.0}), PATIENTS)
    assert states(account, "patients") == {State.PENDING: 1}
