"""A clinic small enough to see through, served and migrated by the real parts: HTTP on both sides.

Belongs here: what tests about checks and gates share. Does not belong here: claims.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from typer.testing import CliRunner

from migration_assets.cli.verbs import VERBS
from migration_assets.connections import Connections
from migration_assets.defs.build import build_definitions
from migration_assets.defs.keys import asset_key, op_name
from migration_assets.demo.clinic_server import Clinic, start_clinic
from migration_assets.demo.clinic_store import ClinicStore
from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets.mapping import Mapping as MappingOf
from migration_assets.mappings import discover
from migration_assets.settings import read_settings
from migration_assets_tests.blank_accounts import blank_file
from migration_assets_tests.demo.founding import ADMIN_KEY, API_KEY

SECRET = "invented"
CLIENT = "5d1f0f3c-7c55-4a5f-9d0a-6f2b7e1c9a13"
PACKAGE = Path(discover.__code__.co_filename).parent.parent
BAD = {"gender": "9"}
"""What no concept map knows."""


@dataclass
class SmallClinic:
    """Three patients of one organization; settings are environment variables, as for people."""

    clinic: Clinic
    sandbox: Sandbox
    instance: dg.DagsterInstance
    folder: Path
    monkeypatch: pytest.MonkeyPatch
    types: tuple[str, ...] = ("Organization", "Patient")
    ahead: timedelta = timedelta(0)
    """How far our own clock goes ahead of what time it is."""

    def setting(self, name: str, value: object) -> None:
        """Set a setting."""
        self.monkeypatch.setenv(name, str(value))

    def phases(self, **phases: str) -> None:
        """Write adoption.toml."""
        given = dict.fromkeys(self.types, "backfill") | phases
        text = "\n".join(f'{kind} = "{phase}"' for kind, phase in given.items())
        (self.folder / "adoption.toml").write_text(text)

    def patient(self, key: str, **row: Any) -> None:
        """Write a patient of the one organization."""
        whole = {"patient_id": key, "last_name": "Doe", "organization_id": "O1", **row}
        self.clinic.put("patients", key, whole)

    def organization(self, key: str, **row: Any) -> None:
        """Write an organization."""
        self.clinic.put("organizations", key, {"organization_id": key, "name": key, **row})

    @property
    def mappings(self) -> dict[str, MappingOf[Any]]:
        """Those of the types that are looked at, in load order."""
        folders = [read_settings(None).mappings]
        found = discover(*[each for each in folders if each])
        return {kind: each for kind, each in found.items() if kind in self.types}

    @property
    def connections(self) -> Connections:
        """What the settings say now."""
        return Connections(read_settings(None), clock=lambda: datetime.now(UTC) + self.ahead)

    @property
    def definitions(self) -> dg.Definitions:
        """What Dagster loads."""
        return build_definitions(connections=self.connections, mappings=self.mappings)

    def run(self, *types: str, partition: str = "", **config: Any) -> dg.ExecuteInProcessResult:
        """Materialize one partition of some types; all of them by default."""
        mappings = [each for each in self.mappings.values() if each.resource_type in types] or list(
            self.mappings.values()
        )
        return self.definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=self.instance,
            partition_key=partition or "2026-11-01",
            asset_selection=[asset_key(kind) for each in mappings for kind in each.types],
            run_config={"ops": {op_name(each): {"config": config} for each in mappings}},
            raise_on_error=False,
        )

    def job(self, name: str, **options: Any) -> dg.ExecuteInProcessResult:
        """Execute a job."""
        return self.definitions.resolve_job_def(name).execute_in_process(
            instance=self.instance, raise_on_error=False, **options
        )

    def check(self, kind: str, name: str) -> dg.AssetCheckEvaluation:
        """Execute one check by itself, as its button in the UI does."""
        chosen = dg.AssetCheckKey(asset_key(kind), name)
        job = self.definitions.resolve_implicit_global_asset_job_def()
        only = job.get_subset(asset_selection=set(), asset_check_selection={chosen})
        return checked(
            only.execute_in_process(instance=self.instance, raise_on_error=False), kind, name
        )

    def tick(self, sensor: str, cursor: str | None = None) -> dg.SensorResult:
        """Evaluate a sensor, and write down the asset events it reports, as the daemon does."""
        made = self.definitions
        context = dg.build_sensor_context(
            instance=self.instance,
            definitions=made,
            resources={"connections": self.connections},
            cursor=cursor,
        )
        said = made.resolve_sensor_def(sensor)(context)
        assert isinstance(said, dg.SensorResult)
        for event in said.asset_events:
            self.instance.report_runless_asset_event(event)
        return said

    def say(self, command: str, *, exits: int = 0) -> str:
        """Run a command as it was printed; what it says."""
        program, *words = command.split()
        assert program == "migration"
        answer = CliRunner().invoke(VERBS, words)
        assert answer.exit_code == exits, answer.output
        return answer.output


@contextmanager
def small_clinic(
    folder: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SmallClinic]:
    """Start the clinic; the sandbox is somebody else's and begins empty."""
    sandbox.reset()
    path = folder / "clinic.db"
    ClinicStore(path).close()
    variables = {
        "MIGRATION_SOURCE": str(PACKAGE / "demo" / "clinic.yaml"),
        "MIGRATION_LEGACY_API_KEY": API_KEY,
        "MIGRATION_MANIFEST_URL": blank_file(folder / "manifest.db"),
        "MIGRATION_ADOPTION": str(folder / "adoption.toml"),
        "MIGRATION_START": "2026-11-01",
        "MEDPLUM_BASE_URL": sandbox.base_url,
        "MEDPLUM_CLIENT_ID": sandbox.client_id,
        "MEDPLUM_CLIENT_SECRET": SECRET,
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with (
        start_clinic(path, api_key=API_KEY, admin_key=ADMIN_KEY) as clinic,
        dg.DagsterInstance.ephemeral() as instance,
    ):
        monkeypatch.setenv("MIGRATION_LEGACY_URL", clinic.base_url)
        made = SmallClinic(clinic, sandbox, instance, folder, monkeypatch)
        made.phases()
        made.organization("O1")
        for key in ("P1", "P2", "P3"):
            made.patient(key, gender="F")
        yield made


def checked(result: dg.ExecuteInProcessResult, kind: str, name: str) -> dg.AssetCheckEvaluation:
    """The outcome of a check of a type."""
    (found,) = (
        each
        for each in result.get_asset_check_evaluations()
        if each.asset_key == asset_key(kind) and each.check_name == name
    )
    return found


def numbers(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata as plain values."""
    return {name: each.value for name, each in metadata.items()}


def commands(check: dg.AssetCheckEvaluation) -> list[str]:
    """The commands that a check names for mending it, in order."""
    return re.findall(r"`(migration [^`]+)`", str(check.metadata["recovery"].value))


def failure(result: dg.ExecuteInProcessResult, op: str) -> str:
    """What the failed step of an op says."""
    for event in result.all_events:
        if event.is_step_failure and event.step_key == op:
            told = event.step_failure_data.user_failure_data
            return str(told and told.description)
    raise AssertionError(f"{op} did not fail")
