"""A source, a Medplum and a Dagster on disk, and what a person or a machine does with them."""

import contextlib
import io
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon.sensor import execute_sensor_iteration
from dagster._utils.error import serializable_error_info_from_exc_info
from dagster_graphql.test.utils import execute_dagster_graphql

from migration_assets.cli import app
from migration_assets.connections import Connections
from migration_assets.defs.build import build_definitions
from migration_assets.defs.keys import asset_key
from migration_assets.demo.medplum_sandbox import Sandbox, start_sandbox
from migration_assets.manifest.sealing import new_key
from migration_assets.mappings import discover
from migration_assets.settings import read_settings
from migration_assets_tests.canary.listening import Heard, listening, sql_logged
from migration_assets_tests.canary.people import DESCRIPTION, TRIPPING, Source
from migration_assets_tests.legacy.legacy_server import Asked, LegacyServer, Reply
from migration_assets_tests.medplum.scripted_server import Script, scripted_server

CLIENT, SECRET = "5d1f0f3c-7c55-4a5f-9d0a-6f2b7e1c9a14", "invented-canary-secret"
TYPES = ("Organization", "Patient", "Location")
PARTITION = "2026-11-01"
_CODE = """
from migration_assets.connections import Connections
from migration_assets.defs.build import build_definitions
from migration_assets.mappings import discover
from migration_assets.settings import read_settings

settings = read_settings(None)
found = discover(settings.mappings)
defs = build_definitions(
    connections=Connections(settings), mappings={{kind: found[kind] for kind in {types!r}}}
)
"""
_LONGEST_WAIT = 0.005
"""Seconds: waiting for a server that is wrong on purpose shows nothing."""


@dataclass
class World:
    """Everything there is, and what anybody said."""

    folder: Path
    source: Source
    sandbox: Sandbox
    script: Script
    monkeypatch: pytest.MonkeyPatch
    instance: dg.DagsterInstance
    heard: Heard = field(default_factory=Heard)
    told: dict[str, list[str]] = field(default_factory=dict)
    ended: list[bool] = field(default_factory=list)
    process: WorkspaceProcessContext | None = None

    def tell(self, where: str, text: object) -> None:
        """Keep what was said somewhere."""
        self.told.setdefault(where, []).append(str(text))

    @property
    def connections(self) -> Connections:
        """What the settings say now."""
        return Connections(read_settings(None))

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Hear what is said meanwhile."""
        with listening(self.heard, self.folder.with_name("streams.txt")):
            yield

    def definitions(self) -> dg.Definitions:
        """What Dagster loads, of the types at hand."""
        found = discover(self.folder / "mappings")
        mappings = {kind: found[kind] for kind in TYPES}
        return build_definitions(connections=self.connections, mappings=mappings)

    def run(self, *types: str, **config: Any) -> None:
        """Materialize types, all by default, as from the UI."""
        job = self.definitions().resolve_implicit_global_asset_job_def()
        for kind in types or TYPES:
            self._executed(
                job,
                partition_key=PARTITION,
                asset_selection=[asset_key(kind)],
                run_config={"ops": {f"medplum__{kind}": {"config": config}}},
            )

    def job(self, name: str, **config: Any) -> None:
        """Execute a job as its schedule would."""
        job = self.definitions().resolve_job_def(name)
        keys: dict[str, Any] = {"partition_key": PARTITION} if job.partitions_def else {}
        self._executed(job, run_config=config, **keys)

    def _executed(self, job: dg.JobDefinition, **how: Any) -> None:
        result = job.execute_in_process(instance=self.instance, raise_on_error=False, **how)
        self.ended.append(result.success)
        for event in result.all_events:
            self.tell("events", event)

    def ticks(self) -> None:
        """Have the daemon evaluate every sensor; its runs are thrown away."""
        assert self.process is not None
        log = logging.getLogger("dagster.daemon")
        list(execute_sensor_iteration(self.process, log, None, None))
        for run in self.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED])):
            self.instance.delete_run(run.run_id)

    def schedules(self) -> None:
        """Evaluate every schedule; keep what it raises as the daemon does."""
        for schedule in self.definitions().schedules or ():
            context = dg.build_schedule_context(
                instance=self.instance,
                scheduled_execution_time=self.connections.clock(),
                resources={"connections": self.connections},
            )
            try:
                self.tell("schedules", schedule.evaluate_tick(context))  # type: ignore[union-attr]
            except Exception:  # noqa: BLE001 - what the daemon would keep of it is the point
                self.tell("schedules", serializable_error_info_from_exc_info(sys.exc_info()))

    def say(self, *words: str) -> int:
        """Run a command as the terminal does: what it prints, and its exit code."""
        said = io.StringIO()
        with (
            sql_logged(),
            self.monkeypatch.context() as patched,
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
        ):
            patched.setattr(sys, "argv", ["migration", *words])
            try:
                app()
            except SystemExit as end:
                code = int(end.code or 0)
        self.tell(f"migration {words[0]}", said.getvalue())
        return code

    def ask(self, query: str) -> Mapping[str, Any]:
        """Answer a GraphQL query as the web server does."""
        assert self.process is not None
        return execute_dagster_graphql(self.process.create_request_context(), query).data


@contextlib.contextmanager
def located(world: World) -> Iterator[None]:
    """A workspace over the same definitions, for the daemon and the web server."""
    code = world.folder / "location.py"
    code.write_text(_CODE.format(types=TYPES))
    origin = LoadableTargetOrigin(
        executable_path=sys.executable, python_file=str(code), working_directory=str(world.folder)
    )
    target = InProcessWorkspaceLoadTarget(InProcessCodeLocationOrigin(origin))
    with WorkspaceProcessContext(world.instance, target) as process:
        world.process = process
        for location in process.create_request_context().code_locations:
            for repository in location.get_repositories().values():
                for sensor in repository.get_sensors():
                    world.instance.start_sensor(sensor)
        yield


@contextlib.contextmanager
def opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A world in a folder."""
    waited = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: waited(min(seconds, _LONGEST_WAIT)))
    monkeypatch.setattr("dagster._daemon.sensor.is_under_min_interval", lambda *_: False)
    for name in ("mappings", "dagster", "reports"):
        (folder / name).mkdir(parents=True)
    monkeypatch.chdir(folder)
    (folder / "mappings" / "tripping.py").write_text(TRIPPING)
    (folder / "source.yaml").write_text(DESCRIPTION)
    (folder / "adoption.toml").write_text("".join(f'{kind} = "backfill"\n' for kind in TYPES))
    source = Source()
    coordinator = {"module": "dagster.core.run_coordinator", "class": "QueuedRunCoordinator"}
    settings = {"run_coordinator": coordinator, "telemetry": {"enabled": False}}
    with (
        LegacyServer() as server,
        scripted_server() as script,
        start_sandbox(
            None, client_id=CLIENT, client_secret=SECRET, quota_per_minute=10_000_000
        ) as sandbox,
        dg.DagsterInstance.local_temp(str(folder / "dagster"), overrides=settings) as instance,
    ):
        server.routes = _Everywhere(source.serve)
        for name, value in {
            "MIGRATION_SOURCE": str(folder / "source.yaml"),
            "MIGRATION_LEGACY_URL": server.url,
            "MIGRATION_MAPPINGS": str(folder / "mappings"),
            "MIGRATION_ADOPTION": str(folder / "adoption.toml"),
            "MIGRATION_MANIFEST_URL": f"sqlite:///{folder / 'manifest.db'}",
            "MIGRATION_ENCRYPTION_KEYS": new_key(),
            "MIGRATION_RETENTION": "until_migrated",
            "MIGRATION_START": PARTITION,
            "MIGRATION_DEADLINE_SECONDS": "1",
            "MEDPLUM_BASE_URL": sandbox.base_url,
            "MEDPLUM_CLIENT_ID": CLIENT,
            "MEDPLUM_CLIENT_SECRET": SECRET,
        }.items():
            monkeypatch.setenv(name, value)
        world = World(folder, source, sandbox, script, monkeypatch, instance)
        with located(world):
            yield world


class _Everywhere(dict[str, Callable[[Asked], Reply]]):
    """Every path is served by one function."""

    def __init__(self, serve: Callable[[Asked], Reply]) -> None:
        super().__init__()
        self._serve = serve

    def __missing__(self, key: str) -> Callable[[Asked], Reply]:
        return self._serve
