"""A whole installation as an operator runs it, with a clinic before it and a Medplum behind.

Belongs here: deploy/'s own commands and files on ports of the test, launching as the UI does it
(GraphQL), and the law at the end. Does not belong here: what a drill kills.
"""

import os
import re
import shutil
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import requests
import sqlalchemy as sa
import yaml
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster_graphql.cli import execute_query

from migration_assets.connections import Connections
from migration_assets.defs.orphans import UNDER_WAY_SECONDS
from migration_assets.demo.clinic_server import Clinic, start_clinic
from migration_assets.demo.clinic_store import ClinicStore
from migration_assets.demo.home import Home
from migration_assets.demo.medplum_sandbox import Sandbox, start_sandbox
from migration_assets.demo.migration import keep_adoption
from migration_assets.demo.population import generate
from migration_assets.manifest import Manifest, State
from migration_assets.manifest.schema import leases
from migration_assets.mappings import discover
from migration_assets.reconciliation.presence import presence
from migration_assets.settings import Settings
from migration_assets_tests.drills.gate import Gate
from migration_assets_tests.drills.processes import Process, command_of, until

ROOT = Path(__file__).parents[2]
MONTHS = 6
_UNITS = ROOT / "deploy" / "systemd"
_LAUNCH = """
mutation ($params: ExecutionParams!) { launchPipelineExecution(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  ... on RunConfigValidationInvalid { errors { message } } } }"""
_BACKFILL = """
mutation ($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
  __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
_REEXECUTE = """
mutation ($params: ReexecutionParams!) { launchRunReexecution(reexecutionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
_SENSOR = """
mutation ($selector: SensorSelector!) { startSensor(sensorSelector: $selector) {
  __typename ... on Sensor { name } ... on PythonError { message } } }"""
_ENDED = {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}


def unit_command(unit: str) -> list[str]:
    """The command that a systemd unit of deploy/ starts, with this environment's programs."""
    text = (_UNITS / unit).read_text(encoding="utf-8")
    line = next(each for each in text.splitlines() if each.startswith("ExecStart="))
    program, *words = line.removeprefix("ExecStart=").split()
    return [str(Path(sys.executable).with_name(Path(program).name)), *words]


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@dataclass
class Installation:
    """The processes of one installation, and what a person asks of it."""

    folder: Path
    variables: dict[str, str]
    port: int
    clinic: Gate
    medplum: Gate
    sandbox: Sandbox
    doctor: Clinic
    """The clinic itself, to change rows in."""
    home: Home
    running: list[Process] = field(default_factory=list)

    def start(self, name: str) -> Process:
        """Start one of deploy/'s units by name: code, daemon, worker, webserver."""
        unit = (
            "migration-worker@.service"
            if name.startswith("worker")
            else f"migration-{name}.service"
        )
        words = {
            "4000": str(self.port),
            "/etc/migration/workspace.yaml": str(self.folder / "workspace.yaml"),
            "/etc/migration": str(self.folder),
        }
        command = [words.get(each, each) for each in unit_command(unit)]
        command = [each.replace("worker-%i@%%h", f"{name}@drill") for each in command]
        process = Process(command, self.variables, self.folder, name)
        self.running.append(process)
        return process

    def started_code_server(self) -> Process:
        """The code server, listening."""
        process = self.start("code")
        until(lambda: self._listens(process), "the code server listens")
        return process

    def _listens(self, process: Process) -> bool:
        assert process.lives, process.said()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def end(self) -> None:
        """End everything that was started, and whatever it left behind."""
        for each in reversed(self.running):
            each.end()
        self.running.clear()

    # -- what a person asks -------------------------------------------------------------------

    @contextmanager
    def asked(self) -> Iterator["Asked"]:
        """The installation's storage and workspace, as the webserver holds them."""
        target = WorkspaceFileTarget(paths=[str(self.folder / "workspace.yaml")])
        with (
            dg.DagsterInstance.get() as instance,
            WorkspaceProcessContext(instance, target) as workspace,
        ):
            yield Asked(
                instance=instance,
                answer=lambda text, variables: execute_query(workspace, text, variables),
            )

    @contextmanager
    def manifest(self) -> Iterator[Manifest]:
        """The account."""
        with self.connections().manifest() as manifest:
            yield manifest

    def connections(self) -> Connections:
        """What the product opens with these settings."""
        return Connections(Settings.model_validate(self.variables), environ=lambda: self.variables)

    def forget_the_dead(self) -> None:
        """Two minutes go by for the leases: nothing that the dead sent is under way any more."""
        engine = sa.create_engine(
            self.variables["MIGRATION_MANIFEST_URL"].replace("postgresql:", "postgresql+psycopg:")
        )
        with engine.begin() as connection:
            past = int(UNDER_WAY_SECONDS + 1) * 1_000_000
            connection.execute(sa.update(leases).values(renewed_at=leases.c.renewed_at - past))
        engine.dispose()

    def assert_the_law(self) -> None:
        """Every row is settled, Medplum holds each resource once and none besides; no lease."""
        with self.manifest() as manifest:
            fhir = self.connections().medplum()
            assert fhir is not None
            balances = manifest.balances()
            assert balances
            for stream, balance in balances.items():
                assert balance.holds, stream
                assert balance.by_state[State.PENDING] == 0, (stream, balance)
            found = {
                name: presence(manifest, fhir, name)
                for each in discover().values()
                for name in each.types
            }
            assert all(each.agrees for each in found.values()), found
            assert sum(each.expected for each in found.values()) > 0
            held: Mapping[str, int] = self.sandbox.stats()["resources"]
            assert {name: held.get(name, 0) for name in found} == {
                name: each.expected for name, each in found.items()
            }
        engine = sa.create_engine(
            self.variables["MIGRATION_MANIFEST_URL"].replace("postgresql:", "postgresql+psycopg:")
        )
        with engine.begin() as connection:
            assert connection.execute(sa.select(leases)).all() == []
        engine.dispose()

    def months(self) -> list[str]:
        """The partitions, oldest first."""
        start = datetime.fromisoformat(self.variables["MIGRATION_START"])
        firsts = {start.strftime("%Y-%m-01")}
        moment = start
        while moment < datetime.now():  # noqa: DTZ005 - only months are compared
            firsts.add(moment.strftime("%Y-%m-01"))
            moment += timedelta(days=1)
        return sorted(firsts)


@dataclass(kw_only=True)
class Asked:
    """GraphQL and the run storage, of one moment of a test."""

    instance: dg.DagsterInstance
    answer: Callable[[str, Mapping[str, object]], Any]

    def query(self, text: str, variables: Mapping[str, object]) -> dict[str, Any]:
        """The one answer of a query; fails on anything but success."""
        answer = self.answer(text, variables)
        assert "errors" not in answer, answer
        (found,) = answer["data"].values()
        assert found["__typename"].endswith(("Success", "Sensor")), found
        return dict(found)

    def launch(
        self,
        first: str,
        last: str,
        tags: Mapping[str, str] | None = None,
        types: Sequence[str] = (),
    ) -> str:
        """One run of every type, or of these, over a range of partitions; its id."""
        span = {
            "dagster/asset_partition_range_start": first,
            "dagster/asset_partition_range_end": last,
        }
        span = ({"dagster/partition": first} if first == last else span) | dict(tags or {})
        chosen = [{"path": ["medplum", each]} for each in types]
        params = {
            "selector": {
                "repositoryLocationName": "migration_assets",
                "repositoryName": "__repository__",
                "pipelineName": "__ASSET_JOB",
                **({"assetSelection": chosen, "assetCheckSelection": None} if chosen else {}),
            },
            "mode": "default",
            "executionMetadata": {"tags": [{"key": k, "value": v} for k, v in span.items()]},
        }
        run_id = self.query(_LAUNCH, {"params": params})["run"]["runId"]
        return str(run_id)

    def backfill(self, partitions: Sequence[str], types: Sequence[str] = ()) -> str:
        """A backfill of every type, or of these, as the dialog launches it; its id."""
        known = types or [name for each in discover().values() for name in each.types]
        params = {
            "assetSelection": [{"path": ["medplum", each]} for each in known],
            "partitionNames": list(partitions),
        }
        return str(self.query(_BACKFILL, {"params": params})["backfillId"])

    def reexecuted(self, run_id: str) -> str:
        """The run again from where it failed, as the button does it; the new run's id."""
        params = {"parentRunId": run_id, "strategy": "FROM_FAILURE"}
        answer = self.query(_REEXECUTE, {"params": params})
        return str(answer["run"]["runId"])

    def runs(self) -> list[dg.DagsterRun]:
        """Every run, newest first."""
        return [each.dagster_run for each in self.instance.get_run_records()]

    def status(self, run_id: str) -> dg.DagsterRunStatus:
        """How a run stands."""
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run.status

    def all_ended(self, seconds: float = 60) -> list[dg.DagsterRun]:
        """Every run, once none is queued or under way any more."""

        def ended() -> list[dg.DagsterRun] | None:
            runs = self.runs()
            return runs if runs and all(each.status in _ENDED for each in runs) else None

        return until(ended, "every run has ended", seconds)

    def ended(self, run_id: str, seconds: float = 60) -> dg.DagsterRunStatus:
        """How a run ended."""
        return until(
            lambda: s if (s := self.status(run_id)) in _ENDED else None, "the run ends", seconds
        )

    def start_sensor(self, name: str) -> None:
        """Turn a sensor on, as its switch in the UI does."""
        selector = {
            "repositoryLocationName": "migration_assets",
            "repositoryName": "__repository__",
            "sensorName": name,
        }
        assert self.query(_SENSOR, {"selector": selector})["name"] == name

    def ended_all(self, run_ids: Sequence[str]) -> dict[str, dg.DagsterRunStatus] | None:
        """How these runs ended, once all have."""
        found = {each: self.status(each) for each in run_ids}
        return found if all(each in _ENDED for each in found.values()) else None

    def process_of(self, run_id: str) -> int:
        """The process in which a run was."""
        for entry in self.instance.all_logs(run_id, of_type=dg.DagsterEventType.LOGS_CAPTURED):
            if found := re.search(r"pid: (\d+)", entry.user_message + str(entry.dagster_event)):
                return int(found[1])
        raise AssertionError(f"{run_id} did not say where it was")

    def retry_of(self, run_id: str, seconds: float = 60) -> str:
        """The run that was started in the place of this one."""

        def found() -> str | None:
            children = (each for each in self.runs() if each.parent_run_id == run_id)
            return next((each.run_id for each in children), None)

        return until(found, "the run is tried again", seconds)

    def assert_nothing_is_held(self) -> None:
        """No pool slot is taken, by the dead or the living."""
        storage = self.instance.event_log_storage
        for pool in storage.get_concurrency_keys():
            info = storage.get_concurrency_info(pool)
            assert info.active_slot_count == 0, pool
            assert info.pending_step_count == 0, pool


@contextmanager
def over_http(url: str) -> Iterator[Asked]:
    """The same asked of a webserver, as a browser does."""

    def answer(text: str, variables: Mapping[str, object]) -> Any:
        body = {"query": text, "variables": variables}
        return requests.post(f"{url}/graphql", json=body, timeout=60).json()

    with dg.DagsterInstance.get() as instance:
        yield Asked(instance=instance, answer=answer)


def run_workers(code_server: Process) -> list[int]:
    """The processes in which the default launcher's runs are, children of the code server."""
    return [each for each in code_server.children() if "spawn_main(" in command_of(each)]


def _described(folder: Path, limit: tuple[int, int] | None) -> Path:
    """The demo clinic's description, with a limit of requests per seconds if one is given."""
    described = yaml.safe_load(
        (ROOT / "migration_assets" / "demo" / "clinic.yaml").read_text(encoding="utf-8")
    )
    if limit is not None:
        described["limits"] = [{"requests": limit[0], "per_seconds": limit[1]}]
    file = folder / "clinic.yaml"
    file.write_text(yaml.safe_dump(described), encoding="utf-8")
    return file


@contextmanager
def installation(
    folder: Path,
    dagster_yaml: Path,
    variables: Mapping[str, str],
    *,
    patients: int,
    limit: tuple[int, int] | None = None,
    months: int = MONTHS,
) -> Iterator[Installation]:
    """The servers on both sides, and an installation between them of which nothing runs yet."""
    folder.mkdir(exist_ok=True)
    home = Home(folder / "home")
    home.create()
    keep_adoption(home)
    now = datetime.now(UTC)
    with ClinicStore(home.clinic) as store:
        store.load(generate(patients=patients, seed=7, now=now))
    start = (now - timedelta(days=30 * (months - 1))).date().replace(day=1)
    (home.folder / "start").write_text(start.isoformat(), encoding="utf-8")
    shutil.copy(dagster_yaml, home.dagster / "dagster.yaml")
    shutil.copy(ROOT / "deploy" / "dagster_celery_config.py", folder)
    port = free_port()
    workspace = (ROOT / "deploy" / "workspace.yaml").read_text(encoding="utf-8")
    (folder / "workspace.yaml").write_text(workspace.replace("4000", str(port)), encoding="utf-8")
    with ExitStack() as stack:
        sandbox = stack.enter_context(
            start_sandbox(
                None, client_id=home.client_id, client_secret=home.client_secret,
                quota_per_minute=10_000_000,
            )
        )  # fmt: skip
        clinic = stack.enter_context(
            start_clinic(home.clinic, api_key=home.api_key, admin_key=home.admin_key)
        )
        before = stack.enter_context(Gate(clinic.base_url))
        behind = stack.enter_context(Gate(sandbox.base_url))
        own = home.environment(before.base_url, behind.base_url)
        own["MIGRATION_SOURCE"] = str(_described(folder, limit))
        del own["MIGRATION_DEMO_HOME"]  # nothing is to start servers by itself
        kept = {
            k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "XDG_CACHE_HOME")
        }
        made = Installation(
            folder,
            {**kept, **own, "PYTHONPATH": f"{folder}:{ROOT}", **variables},
            port, before, behind, sandbox, clinic, home,
        )  # fmt: skip
        try:
            yield made
        finally:
            made.end()
