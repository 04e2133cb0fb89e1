"""A cutover in Dagster: the run page says how far it came, and waiting is no failure."""

from pathlib import Path
from typing import Any

import dagster as dg

from migration_assets.defs.cutovers import watched
from migration_assets_tests.defs.small_clinic import SmallClinic, failure


def _ready(clinic: SmallClinic, folder: Path) -> None:
    """Migrated, in phase read, with time made short."""
    for name, value in {
        "MIGRATION_GATE_DAYS": 0,
        "MIGRATION_CUTOVER_QUIET_POLLS": 1,
        "MIGRATION_CUTOVER_QUIET_SECONDS": 0,
        "MIGRATION_CUTOVER_OBSERVE_HOURS": 0,
        "MIGRATION_CUTOVER_REPORTS": folder / "report",
    }.items():
        clinic.setting(name, value)
    assert clinic.run().success
    clinic.phases(Patient="read", Organization="read")


def _cut_over(clinic: SmallClinic, **config: Any) -> dg.ExecuteInProcessResult:
    return clinic.job(
        "cutover", run_config={"ops": {"freeze": {"config": {"by": "ann", **config}}}}
    )


def _told(result: dg.ExecuteInProcessResult) -> dict[str, dict[str, Any]]:
    """By op what its metadata says."""
    return {
        str(each.step_key): {
            name: value.value for name, value in each.step_output_data.metadata.items()
        }
        for each in result.all_events
        if each.is_successful_output and each.step_output_data.output_name == "found"
    }


def _watch(clinic: SmallClinic) -> Any:
    return watched(clinic.instance, clinic.connections)


def test_a_run_goes_as_far_as_it_can_and_the_next_one_goes_on(
    clinic: SmallClinic, tmp_path: Path
) -> None:
    _ready(clinic, tmp_path)
    assert isinstance(_watch(clinic), dg.SkipReason)
    begun = _cut_over(clinic, types=["Patient", "Organization"], owner="the lead")
    assert begun.success, "to wait for a signature is no failure"
    told = _told(begun)
    assert list(told) == ["freeze", "drain", "final_delta", "verify"], "the others are skipped"
    assert "signature is missing" in told["verify"]["Patient"]
    assert "stands at verify" in str(_watch(clinic).skip_message), "nobody's look would tell more"
    clinic.organization("O9", name="Late")
    signed = _cut_over(clinic, types=["Patient"], approved_by="Dr. Who")
    assert signed.success
    assert "report" in _told(signed)["retire"]["Patient"]
    assert (tmp_path / "report" / "Patient").is_dir()
    phases = (tmp_path / "adoption.toml").read_text()
    assert 'Patient = "retired"' in phases
    assert 'Organization = "read"' in phases
    broken = _cut_over(clinic, approved_by="Dr. Who")
    assert broken.success
    assert "freeze begins again" in str(_told(broken)), "somebody still wrote"
    request = _watch(clinic)
    assert request.run_config["ops"]["freeze"]["config"]["types"] == ["Organization"]
    assert list(_told(clinic.job("cutover", run_config=request.run_config))["freeze"]) == [
        "Organization"
    ]
    said = str([each.message for each in begun.all_events])
    assert "Doe" not in said


def test_a_cohort_is_cut_over_by_its_name_and_the_schedule_follows_it(
    clinic: SmallClinic, tmp_path: Path
) -> None:
    _ready(clinic, tmp_path)
    (tmp_path / "adoption.toml").write_text(
        'Organization = "read"\n[Patient]\nphase = "backfill"\n'
        '[Patient.cohorts.house]\nstream = "patients"\nphase = "read"\n'
    )
    begun = _cut_over(clinic, types=["Patient"], cohort="house", owner="the lead")
    assert "signature is missing" in _told(begun)["verify"]["Patient, cohort house"]
    assert "Patient, cohort house stands at verify" in str(_watch(clinic).skip_message)
    said = clinic.say("migration cutover Patient --cohort house --approved-by Who")
    assert "Patient, cohort house, retired" in " ".join(said.split())
    assert "when the rest of the type is retired, too" in said
    assert "house" in clinic.say("migration cutover Patient --status")
    phases = (tmp_path / "adoption.toml").read_text()
    assert (phases.count('"retired"'), phases.count('"backfill"')) == (1, 1)
    assert (tmp_path / "report" / "Patient" / "house").is_dir()


def test_what_nobody_answers_for_is_refused_before_anything_is_changed(
    clinic: SmallClinic,
) -> None:
    clinic.phases(Patient="read")
    refused: tuple[tuple[dict[str, Any], str], ...] = (
        ({"types": ["Patiënt"]}, "No mapping makes"),
        ({"types": ["Patient"]}, "--owner"),
        ({"by": " "}, "by is empty"),
        ({"force": True}, "needs a reason"),
        ({"cohort": "north"}, "name it in types"),
        ({"types": ["Patient"], "cohort": "north", "owner": "ann"}, "No cohort north"),
    )
    for config, said in refused:
        assert said in failure(_cut_over(clinic, **config), "freeze")
    with clinic.connections.manifest() as manifest:
        assert manifest.cutovers.latest() == []
