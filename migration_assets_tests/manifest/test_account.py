"""Settling: a unit has one state, attempts are kept, and an outdated answer settles nothing."""

import sqlite3
import stat
from datetime import timedelta
from pathlib import Path

import pytest

from migration_assets.errors import Permanent, Transient
from migration_assets.manifest import Manifest, Settlement, State, Target, engine
from migration_assets.manifest.leases import LEASE_SECONDS
from migration_assets_tests.conftest import Clock
from migration_assets_tests.manifest.rows import migrated, patient_token, row


def _landed(manifest: Manifest, *keys: str, stream: str = "patients") -> None:
    manifest.land(stream, [row(key) for key in keys], run_id=1, reopen=True)


def test_a_row_that_changed_while_it_was_being_sent_stays_pending(manifest: Manifest) -> None:
    """Its answer is about the content before: settling it would lose the change."""
    _landed(manifest, "P1")
    (seen,) = manifest.pending_units("patients")
    manifest.land("patients", [row("P1", name="new", at=9)], run_id=2, reopen=True)
    assert manifest.settle([migrated(seen)], run_id=1) == 0
    (unit,) = manifest.pending_units("patients")
    assert unit.row["name"] == "new"
    assert unit.targets[0].fhir_id == "id-P1", "what Medplum confirmed is known all the same"


def test_settled_units_are_counted_once_and_the_law_holds(manifest: Manifest) -> None:
    _landed(manifest, "P1", "P2", "P3")
    first, second, _third = manifest.pending_units("patients")
    skipped = Settlement(unit_id=second.id, revision=1, state=State.SKIPPED, reason="test-record")
    manifest.settle([migrated(first), skipped], run_id=1)
    balance = manifest.balances()["patients"]
    assert balance.holds
    assert balance.by_state[State.MIGRATED] == 1
    assert balance.by_state[State.SKIPPED] == 1
    assert balance.by_state[State.PENDING] == 1


def test_a_unit_waits_until_its_target_is_confirmed_not_merely_intended(
    manifest: Manifest,
) -> None:
    _landed(manifest, "P1")
    _landed(manifest, "C1", stream="conditions")
    (condition,) = manifest.pending_units("conditions")
    waiting = Settlement(
        unit_id=condition.id,
        revision=1,
        state=State.QUARANTINED,
        reason="awaiting-reference",
        awaiting=patient_token("P1"),
    )
    manifest.settle([waiting], run_id=1)
    (patient,) = manifest.pending_units("patients")
    manifest.intend([(patient.id, Target("Patient", patient_token("P1")))])
    assert manifest.release_awaiting("conditions") == 0
    manifest.settle([migrated(patient)], run_id=1)
    assert manifest.release_awaiting("conditions") == 1
    assert [each.key for each in manifest.pending_units("conditions")] == ["C1"]


def test_an_intended_target_is_remembered_for_the_run_after_a_crash(manifest: Manifest) -> None:
    _landed(manifest, "P1")
    (unit,) = manifest.pending_units("patients")
    wanted = [(unit.id, Target("Patient", patient_token("P1")))]
    manifest.intend(wanted)
    manifest.intend(wanted)
    (again,) = manifest.pending_units("patients")
    assert [each.token for each in again.targets] == [patient_token("P1")]
    assert again.targets[0].fhir_id is None
    assert manifest.known_ids([patient_token("P1")]) == {}
    assert manifest.owners([patient_token("P1")]) == {patient_token("P1"): unit.id}


def test_exceptions_are_grouped_with_a_few_keys_to_look_at(manifest: Manifest) -> None:
    keys = [f"P{n}" for n in range(5)]
    _landed(manifest, *keys)
    manifest.settle(
        [
            Settlement(
                unit_id=each.id, revision=1, state=State.QUARANTINED, reason="bad", field="f"
            )
            for each in manifest.pending_units("patients")
        ],
        run_id=1,
    )
    (only,) = manifest.exceptions()
    assert (only.reason, only.field, only.count) == ("bad", "f", 5)
    assert only.example_keys == ("P0", "P1", "P2")


def test_two_runs_cannot_create_one_type_at_the_same_time(manifest: Manifest) -> None:
    with (
        manifest.lease("Patient", "run-1"),
        pytest.raises(Transient, match="run-1 is doing it"),
        manifest.lease("Patient", "run-2"),
    ):
        pass
    with manifest.lease("Patient", "run-2"):
        pass


def test_the_lease_of_a_dead_run_can_be_taken_over_and_the_dead_one_finds_out(
    manifest: Manifest, clock: Clock
) -> None:
    with manifest.lease("Patient", "run-1") as first:
        clock.now += timedelta(seconds=LEASE_SECONDS + 1)
        with manifest.lease("Patient", "run-2"), pytest.raises(Transient, match="took over"):
            manifest.renew(first)


def test_a_living_run_keeps_its_lease(manifest: Manifest, clock: Clock) -> None:
    with manifest.lease("Patient", "run-1") as held:
        for _ in range(3):
            clock.now += timedelta(seconds=LEASE_SECONDS - 1)
            manifest.renew(held)
        with pytest.raises(Transient), manifest.lease("Patient", "run-2"):
            pass


def test_the_account_can_be_read_by_its_owner_only(tmp_path: Path, clock: Clock) -> None:
    """It holds every patient's rows."""
    path = tmp_path / "deep" / "manifest.db"
    manifest = Manifest(f"sqlite:///{path}", clock=clock)
    _landed(manifest, "P1")
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name
    manifest.close()


def test_what_was_settled_is_there_when_the_account_is_opened_again(
    manifest_url: str, clock: Clock
) -> None:
    first = Manifest(manifest_url, clock=clock)
    _landed(first, "P1")
    first.settle([migrated(first.pending_units("patients")[0])], run_id=1)
    first.close()
    second = Manifest(manifest_url, clock=clock)
    assert second.balances()["patients"].by_state[State.MIGRATED] == 1
    second.close()


def test_an_unreachable_database_says_which_setting_to_check_and_no_password(
    clock: Clock,
) -> None:
    with pytest.raises(Transient, match="MIGRATION_MANIFEST_URL") as caught:
        Manifest("postgresql://user:hunter2@127.0.0.1:1/none", clock=clock)
    assert "hunter2" not in str(caught.value)


def test_a_folder_that_cannot_be_written_is_named_as_the_problem(clock: Clock) -> None:
    with pytest.raises(Permanent, match="MIGRATION_MANIFEST_URL"):
        Manifest("sqlite:////proc/none/manifest.db", clock=clock)


def test_an_error_of_the_database_quotes_no_key_and_no_row(manifest: Manifest) -> None:
    """SQLAlchemy would print the parameters of the failing statement."""
    _landed(manifest, "P1")
    (unit,) = manifest.pending_units("patients")
    bad = Settlement(unit_id=unit.id, revision=1, state=State.MIGRATED, reason=object())  # type: ignore[arg-type]  # provokes the driver
    with pytest.raises(Exception, match=r"\S") as caught:
        manifest.settle([bad], run_id=1)
    assert "P1" not in str(caught.value)


def test_a_database_locked_for_too_long_is_a_reason_to_try_later(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_BUSY_SECONDS", 0)
    path = tmp_path / "manifest.db"
    manifest = Manifest(f"sqlite:///{path}", clock=clock, sleep=lambda _seconds: None)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Transient, match="MIGRATION_MANIFEST_URL"):
        _landed(manifest, "P1")
    other.execute("COMMIT")
    other.close()
    _landed(manifest, "P1")
    assert manifest.balances()["patients"].eligible == 1
    manifest.close()
