"""A whole installation as an operator runs it, with a clinic before it and a Medplum behind.

Belongs here: deploy/'s own commands and files on ports of the test, and what a drill changes on the
outside. Does not belong here: what a person asks of it (``asking``), the law at the end (``law``),
or what a drill kills.
"""

import os
import shutil
import socket
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import orjson
import yaml
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster_graphql.cli import execute_query

from migration_assets.connections import Connections
from migration_assets.demo.clinic_server import Clinic, start_clinic
from migration_assets.demo.clinic_store import ClinicStore, Selection
from migration_assets.demo.home import Home
from migration_assets.demo.medplum_sandbox import Sandbox, start_sandbox
from migration_assets.demo.migration import keep_adoption
from migration_assets.demo.population import generate
from migration_assets.settings import Settings
from migration_assets_tests.drills.asking import Asked
from migration_assets_tests.drills.gate import Gate
from migration_assets_tests.drills.processes import Process, command_of, kill, marked, until

ROOT = Path(__file__).parents[2]
ONE_MACHINE = ROOT / "migration_assets" / "defs" / "dagster.yaml"
SEVERAL = ROOT / "deploy" / "dagster.yaml"
MARK = "DRILL"
"""The environment variable that every process of an installation has, with its id."""
_UNITS = ROOT / "deploy" / "systemd"
_KEPT = ("PATH", "HOME", "LANG", "XDG_CACHE_HOME")


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
    """The processes of one installation."""

    name: str
    """Also its Celery queue's: workers of two installations must not take each other's runs."""
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
        """Start one of deploy/'s units by name: code, daemon, worker-1, webserver."""
        unit = (
            "migration-worker@.service"
            if name.startswith("worker")
            else f"migration-{name}.service"
        )
        words = {
            "4000": str(self.port),
            "3000": str(free_port()),
            "dagster": self.name,  # the worker's queue
            "worker-%i@%%h": f"{name}@{self.name}",
            "/etc/migration/workspace.yaml": str(self.folder / "workspace.yaml"),
            "/etc/migration": str(self.folder),
        }
        command = [words.get(each, each) for each in unit_command(unit)]
        process = Process(command, self.variables, self.folder, name)
        self.running.append(process)
        return process

    def ready(self, name: str) -> Process:
        """The process of that name: the one that lives, or a new one; it listens or is warm."""
        alive = (each for each in self.running if each.name == name and each.lives)
        process = next(alive, None) or self.start(name)
        if name == "code":
            until(lambda: self._listens(process), "the code server listens")
        if name.startswith("worker"):
            until(lambda: process.children() or not process.lives, "the worker is warm")
        assert process.lives, process.said()
        return process

    def _listens(self, process: Process) -> bool:
        assert process.lives, process.said()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def end(self) -> None:
        """End everything that was started, and whatever it left behind."""
        for each in self.running:
            each.kill()
        while left := marked(f"{MARK}={self.name}"):
            for pid in left:
                kill(pid)
        self.running.clear()

    def describe(self, limits: Sequence[tuple[int, int]] = ()) -> None:
        """The clinic's description, with these limits of requests per seconds; read by each run.

        One further try and no more: a legacy API that died is given up in a second, not in half a
        minute.
        """
        described = yaml.safe_load(
            (ROOT / "migration_assets" / "demo" / "clinic.yaml").read_text(encoding="utf-8")
        )
        described["limits"] = [{"requests": n, "per_seconds": seconds} for n, seconds in limits]
        described["http"] = {**described.get("http", {}), "attempts": 2, "backoff": 0.1}
        file = Path(self.variables["MIGRATION_SOURCE"])
        file.write_text(yaml.safe_dump(described), encoding="utf-8")

    def change_all(self, stream: str, key: str, column: str, value: str) -> None:
        """Every row of a stream is changed now: there is something to write, whatever ran before.

        A value that rows refuse is its rows' quarantine: take one that they accept.
        """
        with ClinicStore(self.home.clinic, read_only=True) as store:
            selection = Selection(stream, include_deleted=False)
            rows = [orjson.loads(each) for each in store.page(selection, after=None, limit=50).rows]
        for each in rows:
            if each.get(key):
                self.doctor.put(stream, str(each[key]), {**each, column: value})

    @contextmanager
    def asked(self) -> Iterator[Asked]:
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

    def connections(self) -> Connections:
        """What the product opens with these settings."""
        return Connections(Settings.model_validate(self.variables), environ=lambda: self.variables)

    def months(self) -> list[str]:
        """The partitions, oldest first."""
        start = datetime.fromisoformat(self.variables["MIGRATION_START"])
        firsts = {start.strftime("%Y-%m-01")}
        moment = start
        while moment < datetime.now():  # noqa: DTZ005 - only months are compared
            firsts.add(moment.strftime("%Y-%m-01"))
            moment += timedelta(days=1)
        return sorted(firsts)


def run_workers(code_server: Process) -> list[int]:
    """The processes in which the default launcher's runs are, children of the code server."""
    return [each for each in code_server.children() if "spawn_main(" in command_of(each)]


@contextmanager
def installation(
    folder: Path, dagster_yaml: Path, variables: Mapping[str, str], *, patients: int, months: int
) -> Iterator[Installation]:
    """The servers on both sides, and an installation between them of which nothing runs yet."""
    name = f"drill-{uuid.uuid4().hex[:12]}"
    folder.mkdir(exist_ok=True)
    home = Home(folder / "home")
    home.create()
    keep_adoption(home)
    now = datetime.now(UTC)
    with ClinicStore(home.clinic) as store:
        store.load(generate(patients=patients, seed=7, now=now))
    start = now.date().replace(day=1)
    for _ in range(months - 1):
        start = (start - timedelta(days=1)).replace(day=1)
    (home.folder / "start").write_text(start.isoformat(), encoding="utf-8")
    text = dagster_yaml.read_text(encoding="utf-8")
    text = text.replace("default_queue: dagster", f"default_queue: {name}")
    (home.dagster / "dagster.yaml").write_text(text, encoding="utf-8")
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
        own["MIGRATION_SOURCE"] = str(folder / "clinic.yaml")
        del own["MIGRATION_DEMO_HOME"]  # nothing is to start servers by itself
        outer = {k: v for k, v in os.environ.items() if k in _KEPT}
        marks = {MARK: name, "PYTHONPATH": f"{folder}:{ROOT}"}
        made = Installation(
            name, folder, {**outer, **own, **marks, **variables},
            port, before, behind, sandbox, clinic, home,
        )  # fmt: skip
        made.describe()
        try:
            yield made
        finally:
            made.end()
