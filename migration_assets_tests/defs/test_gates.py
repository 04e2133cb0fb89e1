"""Gates: what rests on a type that stands badly does not start, in this run or in another."""

from dataclasses import replace
from typing import Any

import orjson
import pytest

from migration_assets.defs.keys import asset_key
from migration_assets.defs.reconciling import RECONCILE_JOB
from migration_assets.errors import Transient
from migration_assets.manifest import Manifest
from migration_assets.medplum.bundles import bundle_json
from migration_assets_tests.defs.small_clinic import SmallClinic, checked, failure, numbers

ORGANIZATION, PATIENT = "medplum__Organization", "medplum__Patient"


def stood_still(clinic: SmallClinic, result: Any) -> str:
    """Organization failed before it was reported as done, Patient never started; what was said."""
    assert not result.success
    key = asset_key("Organization")
    assert clinic.instance.get_latest_materialization_event(key) is None
    assert not [
        each for each in result.all_events if each.step_key == PATIENT and each.is_step_start
    ]
    with clinic.connections.manifest() as manifest:
        assert "patients" not in manifest.balances()
    return failure(result, ORGANIZATION)


def test_too_many_exceptions_shut_the_gate_for_this_run_and_for_others_until_mended(
    clinic: SmallClinic,
) -> None:
    clinic.setting("MIGRATION_EXCEPTIONS_GATE", 0.3)
    clinic.organization("O2", type_code="annex")
    said = stood_still(clinic, clinic.run())
    assert "1 of its 2 rows did not arrive" in said
    assert "migration redeliver --type Organization --reason unmapped-code" in said
    below = clinic.run("Patient")
    assert "Patient does not start, because it refers to Organization" in failure(below, PATIENT)
    clinic.say("migration assign O2 --type Organization --decision accept --approver somebody")
    assert clinic.run("Patient").success
    assert clinic.run().success


def test_without_a_gate_exceptions_keep_nobody_from_arriving(clinic: SmallClinic) -> None:
    clinic.organization("O2", type_code="annex")
    assert clinic.run().success


def test_below_a_paused_type_a_backfill_does_not_start_until_it_is_resumed(
    clinic: SmallClinic,
) -> None:
    """Ten million encounters would wait for the patients that were held."""
    clinic.setting("MIGRATION_ERROR_COUNT", 1)
    clinic.setting("MIGRATION_ERROR_RATE", 0.5)
    clinic.organization("O2", type_code="annex")
    assert "is paused since" in stood_still(clinic, clinic.run())
    below = failure(clinic.run("Patient"), PATIENT)
    assert "because it refers to Organization" in below
    assert "migration resume Organization" in below
    clinic.say("migration resume Organization")
    assert clinic.run("Patient").success


def test_below_a_paused_type_an_incremental_pull_goes_on(clinic: SmallClinic) -> None:
    """It brings few rows, and who changed a phone number need not wait for an organization."""
    assert clinic.run().success
    with clinic.connections.manifest() as manifest:
        manifest.pauses.pause("organizations", run_id=1, failed=9, seen=9, reasons={"x": 9})
    clinic.patient("P4")
    assert clinic.run("Patient", incremental=True).success
    assert not clinic.run("Patient").success


def test_a_rehearsal_is_stopped_by_no_gate(clinic: SmallClinic) -> None:
    clinic.setting("MIGRATION_EXCEPTIONS_GATE", 0)
    clinic.phases(Organization="rehearse", Patient="rehearse")
    clinic.organization("O2", type_code="annex")
    assert clinic.run().success


def test_a_broken_balance_is_never_reported_as_done(
    clinic: SmallClinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Injected: as long as this holds, no code of ours can bring it about."""
    balances = Manifest.balances

    def broken(manifest: Manifest) -> Any:
        return {
            name: replace(each, eligible=each.eligible + 1)
            for name, each in balances(manifest).items()
        }

    with monkeypatch.context() as patched:
        patched.setattr(Manifest, "balances", broken)
        result = clinic.run()
    assert "its balance is broken (2 rows, and 1 by state)" in stood_still(clinic, result)


def test_a_lost_lease_lets_nothing_go_on(
    clinic: SmallClinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Injected: another run took the type over while this one waited for quota."""

    def lost(*_: object) -> None:
        raise Transient("Another run took over Organization.")

    monkeypatch.setattr(Manifest, "renew", lost)
    assert "took over" in stood_still(clinic, clinic.run())


def test_below_a_type_of_which_a_comparison_found_records_missing_nothing_is_built(
    clinic: SmallClinic,
) -> None:
    """In its own run by the blocking check, in another by the gate, until a comparison is clean."""
    assert clinic.run().success
    client = clinic.connections.medplum()
    assert client is not None
    (gone,) = client.search("Organization", {})
    meddling = {"request": {"method": "DELETE", "url": f"Organization/{gone['id']}"}}
    client.post_bundle(bundle_json([orjson.dumps(meddling)]), 1)
    client.close()
    held = "medplum_holds_what_the_manifest_says"
    assert not checked(clinic.job(RECONCILE_JOB), "Organization", held).passed
    below = failure(clinic.run("Patient"), PATIENT)
    assert "Patient does not start, because it refers to Organization" in below
    assert "found 1 missing" in below
    assert "`migration reconcile Organization --repair missing --yes`" in below
    clinic.phases(Organization="write")  # people delete there as they see fit
    assert any(
        each.step_key == PATIENT and each.is_step_success
        for each in clinic.run("Patient").all_events
    )
    clinic.phases()
    both = clinic.run()
    assert not both.success
    assert not [each for each in both.all_events if each.step_key == PATIENT and each.is_step_start]
    clinic.say("migration reconcile Organization --repair missing --yes", exits=1)
    clinic.say("migration reconcile Organization Patient --references")
    assert clinic.run("Patient").success
    assert clinic.run().success


def test_of_a_type_with_cohorts_the_checks_say_what_was_refused_for_whom(
    clinic: SmallClinic,
) -> None:
    assert clinic.run().success
    cohort = '[Patient.cohorts.lakeside]\norganization = "O1"\nphase = "write"\n'
    text = f'Organization = "backfill"\n[Patient]\nphase = "backfill"\n{cohort}'
    (clinic.folder / "adoption.toml").write_text(text, encoding="utf-8")
    clinic.patient("P1", first_name="Edited")
    check = checked(clinic.run(), "Patient", "every_row_accounted_for")
    assert check.passed
    told = numbers(check.metadata)
    assert told["left_out/lakeside (medplum-owns-cohort)"] == 1
    assert "1 row is left out by cohort" in str(check.description)
