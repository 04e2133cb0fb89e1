"""The account of write-back: every edit seen in Medplum is one debt, and ends in one state."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from migration_assets.errors import Transient
from migration_assets.manifest import Manifest, State, Target
from migration_assets.manifest.leases import LEASE_SECONDS, Lease
from migration_assets.manifest.write_back_ends import (
    BOTH_SIDES,
    SUPERSEDED,
    Choice,
    Debt,
    Settled,
    WriteBack,
)
from migration_assets.manifest.write_backs import Seen
from migration_assets_tests.conftest import Clock
from migration_assets_tests.manifest.rows import migrated, patient_token, row, tombstone

TARGET = Target("Patient", patient_token("P1"), "id-P1", "v2", "e" * 32)


@pytest.fixture
def lease(manifest: Manifest) -> Iterator[Lease]:
    """The right to write Patient, of a run on whose account P1 is migrated."""
    run = manifest.start_run("first", pipeline_version="1")
    manifest.land("patients", [row("P1", phone="1")], run_id=run, reopen=False)
    manifest.settle([migrated(each) for each in manifest.pending_units("patients")], run_id=run)
    with manifest.lease("Patient", "write-back") as held:
        yield held


def _noted(manifest: Manifest, version: str, kind: str = "change") -> Debt:
    (unit,) = manifest.landed_units("patients", limit=1)
    seen = Seen(
        fhir_id="id-P1",
        version_id=version,
        kind=kind,
        unit_id=unit.id,
        token=patient_token("P1"),
        key="P1",
        versions=[{"version": version}],
    )
    manifest.write_backs.note("Patient", [seen])
    return manifest.write_backs.due("Patient")[-1]


def _counts(manifest: Manifest) -> dict[WriteBack, int]:
    return manifest.write_backs.counts().get("Patient", {})


def test_an_edit_that_is_seen_again_is_no_second_debt(manifest: Manifest, lease: Lease) -> None:
    debt = _noted(manifest, "v2")
    assert lease.name == "Patient"
    assert _noted(manifest, "v2") == debt
    assert manifest.write_backs.open(["Patient", "Encounter"]) == 1
    assert manifest.write_backs.open(["Encounter"]) == 0


def test_a_later_edit_takes_the_place_of_one_that_was_never_sent(
    manifest: Manifest, lease: Lease
) -> None:
    first = _noted(manifest, "v2")
    second = _noted(manifest, "v3")
    assert _counts(manifest) == {WriteBack.SKIPPED: 1, WriteBack.OPEN: 1}
    manifest.write_backs.sending(second, lease=lease)
    _noted(manifest, "v4")
    found = manifest.write_backs.get(first.id)
    assert found is not None
    assert found.reason == SUPERSEDED
    # What may have arrived is found out about first.
    assert [each.version_id for each in manifest.write_backs.due("Patient")] == ["v3", "v4"]


def test_what_was_written_back_is_the_row_on_account_and_no_legacy_edit(
    manifest: Manifest, lease: Lease
) -> None:
    debt = _noted(manifest, "v2")
    run = manifest.start_run("back", pipeline_version="1")
    ours, theirs = row("P1", at=9, phone="2"), row("P1", at=10, phone="3")
    for _ in range(2):  # a lost answer to COMMIT is no second result
        manifest.write_backs.settle(
            Settled(
                debt=debt,
                state=WriteBack.WRITTEN,
                stream="patients",
                row=ours,
                target=TARGET,
                mapping_version="1.0.0",
            ),
            run_id=run,
            lease=lease,
        )
    (unit,) = manifest.landed_units("patients", limit=1)
    assert unit.row == ours.row
    assert unit.revision == 2
    assert (unit.targets[0].version_id, unit.targets[0].fingerprint) == ("v2", "e" * 32)
    assert manifest.balances()["patients"].by_state[State.UNCHANGED] == 1
    assert _counts(manifest) == {WriteBack.WRITTEN: 1}
    assert manifest.write_backs.made_here("patients", [ours]) == {"P1"}
    assert manifest.write_backs.made_here("patients", [theirs]) == set()
    assert manifest.write_backs.made_here("patients", [tombstone("P1", at=11)]) == set()


def test_a_row_that_landed_after_the_write_back_is_an_edit_again(
    manifest: Manifest, lease: Lease, clock: Clock
) -> None:
    debt = _noted(manifest, "v2")
    run = manifest.start_run("back", pipeline_version="1")
    ours, theirs = row("P1", at=9, phone="2"), row("P1", at=10, phone="3")
    manifest.write_backs.settle(
        Settled(debt=debt, state=WriteBack.WRITTEN, stream="patients", row=ours, target=TARGET),
        run_id=run,
        lease=lease,
    )
    clock.now += timedelta(seconds=1)
    manifest.land("patients", [theirs], run_id=run, reopen=False)
    assert manifest.write_backs.made_here("patients", [theirs]) == set()


@pytest.mark.parametrize(
    ("choice", "state", "unit_state", "version"),
    [
        (Choice.MEDPLUM, WriteBack.OPEN, State.QUARANTINED, "v1"),
        (Choice.LEGACY, WriteBack.SKIPPED, State.PENDING, "v2"),
    ],
)
def test_a_conflict_keeps_both_versions_until_a_person_decides(
    manifest: Manifest,
    lease: Lease,
    choice: Choice,
    state: WriteBack,
    unit_state: State,
    version: str,
) -> None:
    debt = _noted(manifest, "v2")
    run = manifest.start_run("back", pipeline_version="1")
    theirs = row("P1", at=9, phone="3")
    manifest.write_backs.settle(
        Settled(
            debt=debt,
            state=WriteBack.CONFLICT,
            reason="edited-in-legacy",
            stream="patients",
            row=theirs,
            target=TARGET,
        ),
        run_id=run,
        lease=lease,
    )
    (unit,) = manifest.landed_units("patients", limit=1)
    assert (unit.row, unit.targets[0].version_id) == (theirs.row, "v1")
    assert [each.reason for each in manifest.exceptions("patients")] == [BOTH_SIDES]
    (held,) = manifest.write_backs.listed("Patient", [WriteBack.CONFLICT])
    assert manifest.write_backs.open(["Patient"]) == 1
    assert manifest.write_backs.decide(held, choice, by="a person", note=None)
    assert not manifest.write_backs.decide(held, choice, by="another", note=None), "decided twice"
    (unit,) = manifest.landed_units("patients", limit=1)
    assert unit.targets[0].version_id == version
    assert manifest.balances()["patients"].by_state[unit_state] == 1
    assert _counts(manifest) == {state: 1}


def test_who_lost_the_lease_neither_sends_nor_settles(
    manifest: Manifest, lease: Lease, clock: Clock
) -> None:
    debt = _noted(manifest, "v2")
    clock.now += timedelta(seconds=LEASE_SECONDS + 1)
    with manifest.lease("Patient", "another"):
        with pytest.raises(Transient):
            manifest.write_backs.sending(debt, lease=lease)
        with pytest.raises(Transient):
            manifest.write_backs.settle(
                Settled(debt=debt, state=WriteBack.UNCHANGED), run_id=1, lease=lease
            )
    found = manifest.write_backs.get(debt.id)
    assert found is not None
    assert (found.state, found.sent, found.attempts) == (WriteBack.OPEN, False, 0)
