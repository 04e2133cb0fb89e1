"""Checks that ask Medplum: by themselves they compare, and beside a materialization they recall."""

import dagster as dg
import orjson

from migration_assets.defs.incremental import JOB
from migration_assets.defs.keys import asset_key
from migration_assets.defs.reconciling import RECONCILE_JOB
from migration_assets.defs.sweeps import SWEEP_JOB
from migration_assets.medplum.bundles import bundle_json
from migration_assets_tests.defs.small_clinic import (
    SmallClinic,
    checked,
    commands,
    numbers,
)

WARN, ERROR = dg.AssetCheckSeverity.WARN, dg.AssetCheckSeverity.ERROR
HELD, UNIQUE = "medplum_holds_what_the_manifest_says", "identifiers_unique"
RESOLVE = "references_resolve"


def meddle(
    clinic: SmallClinic, *, delete: str = "", twin_of: str = "", lead_astray: str = ""
) -> None:
    """Somebody else deletes a patient in Medplum, writes a twin, or changes its organization."""
    client = clinic.connections.medplum()
    assert client is not None
    (found,) = (
        each
        for each in client.search("Patient", {})
        if any(one["value"] == (delete or twin_of or lead_astray) for one in each["identifier"])
    )
    entry = {"request": {"method": "DELETE", "url": f"Patient/{found['id']}"}}
    if twin_of:
        twin = {name: value for name, value in found.items() if name not in {"id", "meta"}}
        entry = {"resource": twin, "request": {"method": "POST", "url": "Patient"}}
    if lead_astray:
        (other,) = client.search("Organization", {"name": "O2"})
        astray = {**found, "managingOrganization": {"reference": f"Organization/{other['id']}"}}
        request = {"method": "PUT", "url": f"Patient/{found['id']}"}
        entry = {"resource": astray, "request": request}
    (answer,) = client.post_bundle(bundle_json([orjson.dumps(entry)]), 1)
    client.close()
    assert answer["response"]["status"].startswith("20")


def test_what_somebody_deleted_is_found_and_brought_back_by_the_command(
    clinic: SmallClinic,
) -> None:
    clinic.run()
    assert checked(clinic.job(RECONCILE_JOB), "Patient", HELD).passed
    meddle(clinic, delete="P2")
    check = checked(clinic.job(RECONCILE_JOB), "Patient", HELD)
    assert (check.passed, check.severity) == (False, ERROR)
    told = numbers(check.metadata)
    assert (told["expected"], told["findings"], told["reason/missing"]) == (3, 1, 1)
    assert "P2" not in str(told)
    (command,) = commands(check)
    clinic.say(command, exits=1)  # it found something, and repaired it
    assert clinic.check("Patient", HELD).passed


def test_a_reference_that_leads_elsewhere_fails_the_check_and_the_command_mends_it(
    clinic: SmallClinic,
) -> None:
    clinic.organization("O2")
    clinic.run()
    assert clinic.check("Patient", RESOLVE).passed
    meddle(clinic, lead_astray="P2")
    check = clinic.check("Patient", RESOLVE)
    assert (check.passed, check.severity) == (False, ERROR)
    assert numbers(check.metadata)["reason/reference-wrong"] == 1
    (command,) = commands(check)
    clinic.say(command, exits=1)  # it found something, and repaired it
    assert clinic.check("Patient", RESOLVE).passed


def test_a_second_resource_with_our_identifier_fails_the_check_of_uniqueness(
    clinic: SmallClinic,
) -> None:
    clinic.run()
    meddle(clinic, twin_of="P1")
    result = clinic.job(RECONCILE_JOB)
    check = checked(result, "Patient", UNIQUE)
    assert not check.passed
    assert numbers(check.metadata)["reason/duplicate"] == 1
    assert "1 finding speaks against this" in str(check.description)
    assert commands(check) == ["migration reconcile Patient --repair duplicates --yes"]
    assert checked(result, "Organization", UNIQUE).passed


def test_beside_a_materialization_the_last_comparison_is_recalled_and_costs_nothing(
    clinic: SmallClinic,
) -> None:
    """A backfill in 24 runs would compare 24 times; green without a comparison would be a lie."""
    first = checked(clinic.run(), "Patient", HELD)
    assert (first.passed, first.severity) == (False, WARN)
    assert "never compared" in str(first.description)
    clinic.job(RECONCILE_JOB)
    meddle(clinic, delete="P2")
    recalled = checked(clinic.run(), "Patient", HELD)
    assert recalled.passed
    told = numbers(recalled.metadata)
    assert told["evidence/comparison"].startswith("number ")
    assert told["evidence/compared"] == "every identifier and id"
    assert told["evidence/of"] == "the whole type"
    assert told["evidence/searched"].startswith("Patient?identifier=")
    assert " search" in told["evidence/searched"]
    assert told["evidence/when"].endswith(" UTC")
    version = clinic.mappings["Patient"].version
    assert told["evidence/mapping"] == f"version {version}"
    counted = "3 resources on account, 3 resources found in Medplum"
    assert told["evidence/counted"] == counted


def test_a_backfill_compares_afterwards_where_that_is_asked_for(clinic: SmallClinic) -> None:
    job = clinic.definitions.resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(
        instance=clinic.instance,
        partition_key="2026-11-01",
        run_config={"ops": {"reconcile__Patient": {"config": {"after_materializing": True}}}},
    )
    check = checked(result, "Patient", HELD)
    assert check.passed
    assert numbers(check.metadata)["expected"] == 3


def test_a_sample_does_not_take_back_what_a_whole_comparison_found(clinic: SmallClinic) -> None:
    """Of a thousand patients with one missing most samples are clean."""
    clinic.run()
    meddle(clinic, twin_of="P1")
    clinic.job(RECONCILE_JOB)
    for seed in range(20):
        config = {"ops": {"reconcile__Patient": {"config": {"sample": 1, "seed": seed}}}}
        check = checked(clinic.job(RECONCILE_JOB, run_config=config), "Patient", UNIQUE)
        assert not check.passed
        if "of a part" not in str(check.description):
            return  # that sample was clean
    raise AssertionError("No sample was clean: the test showed nothing.")


def test_a_type_that_rehearses_claims_nothing(clinic: SmallClinic) -> None:
    clinic.phases(Patient="rehearse")
    clinic.run()
    check = checked(clinic.job(RECONCILE_JOB), "Patient", HELD)
    assert (check.passed, check.severity) == (False, WARN)
    assert "Nothing is claimed" in str(check.description)


def test_the_jobs_of_every_day_do_not_compare_and_the_weekly_one_compares_content(
    clinic: SmallClinic,
) -> None:
    """An incremental pull every 30 s would fill the event log with checks, and spend the quota."""
    made = clinic.definitions
    for name in (JOB, SWEEP_JOB):
        nodes = {each.name for each in made.resolve_job_def(name).nodes}
        assert nodes == {"medplum__Organization", "medplum__Patient"}
    schedule = made.resolve_schedule_def("weekly_deep_reconciliation")
    context = dg.build_schedule_context(
        instance=clinic.instance, repository_def=made.get_repository_def()
    )
    (request,) = schedule.evaluate_tick(context).run_requests or []
    assert request.run_config["ops"]["reconcile__Patient"]["config"]["deep"] is True
    result = clinic.job(RECONCILE_JOB, run_config=request.run_config)
    assert {each.asset_key for each in result.get_asset_check_evaluations()} == {
        asset_key("Organization"),
        asset_key("Patient"),
    }
