"""Write-back as people start it: the verb, Dagster's job, its schedule and its check."""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from typer.testing import CliRunner

from migration_assets.cli.verbs import VERBS
from migration_assets.connections import Connections
from migration_assets.defs.writing_back import (
    write_back_check,
    write_back_job,
    write_back_schedule,
)
from migration_assets.demo import clinic_server
from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets.errors import Permanent
from migration_assets.settings import Settings
from migration_assets_tests.conftest import SECRET
from migration_assets_tests.write_back.world import ALL, MAPPINGS, PATIENT, World, now, phone

CANARY = "Kanarienvogel"


@pytest.fixture
def settings(one_world: World, running: Sandbox, tmp_path: Path) -> dict[str, str]:
    """The settings of that world."""
    adoption = tmp_path / "adoption.toml"
    adoption.write_text(ALL.format("write"), encoding="utf-8")
    return {
        **one_world.environ,
        "MIGRATION_MANIFEST_URL": f"sqlite:///{tmp_path / 'manifest.db'}",
        "MIGRATION_SOURCE": str(Path(clinic_server.__file__).with_name("clinic.yaml")),
        "MIGRATION_ADOPTION": str(adoption),
        "MEDPLUM_BASE_URL": running.base_url,
        "MEDPLUM_CLIENT_ID": running.client_id,
        "MEDPLUM_CLIENT_SECRET": SECRET,
    }


def _command(settings: dict[str, str], *arguments: str) -> Any:
    return CliRunner().invoke(VERBS, ["write-back", *arguments], env=settings)


def _connections(settings: dict[str, str]) -> Connections:
    read = Settings.model_validate(
        {name: each for name, each in settings.items() if "LEGACY" not in name}
    )
    return Connections(read, environ=lambda: settings)


def test_the_command_writes_back_and_says_what_waits_and_a_person_decides_by_number(
    one_world: World, settings: dict[str, str]
) -> None:
    one_world.edit(phone(CANARY))
    one_world.edit(phone(CANARY), "P2")
    one_world.at_the_desk("P2", first_name="Theirs")
    before = _command(settings, "Patient", "--dry-run", "--json")
    foreseen = json.loads(before.output)["types"][0]
    assert (foreseen["seen"], foreseen["new"]) == (0, 2)
    assert foreseen["would_be"] == [
        {"state": "conflict", "reason": "edited-in-legacy", "changes": 1},
        {"state": "written", "reason": "", "changes": 1},
    ]
    assert (one_world.row() or {})["phone"] == PATIENT["phone"], "a dry run wrote"
    ran = _command(settings, "Patient", "--json")
    told = json.loads(ran.output)
    assert ran.exit_code == 1
    assert {name: told["types"][0][name] for name in ("seen", "written", "conflict")} == {
        "seen": 2,
        "written": 1,
        "conflict": 1,
    }
    (waiting,) = told["waiting"]
    assert (waiting["key"], waiting["reason"]) == ("P2", "edited-in-legacy")
    number = str(waiting["number"])
    wrong = _command(settings, "--decide", number, "--choice", "retry")
    assert isinstance(wrong.exception, Permanent)
    assert _command(settings, "--decide", number, "--choice", "medplum").exit_code == 0
    last = _command(settings)
    assert last.exit_code == 0
    assert (one_world.row("P2") or {})["phone"] == CANARY
    assert CANARY not in before.output + ran.output + last.output


def test_the_job_counts_the_schedule_waits_and_the_check_says_what_does(
    one_world: World, settings: dict[str, str]
) -> None:
    mapping, connections = MAPPINGS["Patient"], _connections(settings)
    check = write_back_check(mapping)
    assert not _checked(check, connections).passed, "green without having looked"
    one_world.edit(phone(CANARY))
    one_world.edit(
        lambda held: {**held, "extension": [{"url": "x:y", "valueString": CANARY}]}, "P2"
    )
    job = write_back_job([mapping])
    done = job.execute_in_process(resources={"connections": connections}, raise_on_error=False)
    assert done.success
    (output,) = [each for each in done.all_events if each.is_successful_output]
    metadata = {name: each.value for name, each in output.step_output_data.metadata.items()}
    assert (metadata["Patient/written"], metadata["Patient/refused"]) == (1, 1)
    found = _checked(check, connections)
    assert (found.passed, found.description) == (False, "1 of 2 changes wait.")
    assert CANARY not in repr([done.all_events, found])
    with dg.instance_for_test() as instance:
        schedule = write_back_schedule([mapping], job)
        context = dg.build_schedule_context(
            instance=instance,
            scheduled_execution_time=now(),
            resources={"connections": connections},
        )
        assert schedule.evaluate_tick(context).run_requests
        (Path(settings["MIGRATION_ADOPTION"])).write_text(ALL.format("read"), encoding="utf-8")
        assert not schedule.evaluate_tick(context).run_requests
    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED


def _checked(check: dg.AssetChecksDefinition, connections: Connections) -> dg.AssetCheckEvaluation:
    defs = dg.Definitions(
        assets=[dg.AssetSpec(next(iter(check.check_keys)).asset_key)],
        asset_checks=[check],
        resources={"connections": connections},
    )
    job = defs.resolve_implicit_global_asset_job_def()
    (evaluation,) = job.execute_in_process().get_asset_check_evaluations()
    return evaluation
