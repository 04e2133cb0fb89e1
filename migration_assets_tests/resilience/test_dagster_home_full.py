"""Dagster's own disk is full in the middle of a run: its records suffer, no row of ours does.

DAGSTER_HOME and its log folder are one disk, the account is on another. A tmpfs of a few megabytes
is that disk where it may be mounted. Everywhere, SQLite itself refuses Dagster's files another
page, and the log folder cannot be written to.
"""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from migration_assets.demo.medplum_sandbox import Sandbox, start_sandbox
from migration_assets.manifest import State
from migration_assets.medplum import MedplumClient
from migration_assets_tests.defs.small_clinic import CLIENT, SECRET, SmallClinic, small_clinic

pytestmark = [
    pytest.mark.sandbox,
    # Dagster closes nothing of what it could not write.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
_LOGS = "dagster._core.storage.local_compute_log_manager"


class Disk:
    """Where DAGSTER_HOME is; ``full`` while its databases and logs may take nothing more."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.logs = home / "logs"
        self.full = False

    def fill(self) -> None:
        """Nothing more goes in."""
        if not self.full:
            self.logs.rename(self.home / "logs, out of reach")
            self.logs.write_text("no folder: not even root can write into it")
        self.full = True

    def empty(self) -> None:
        """There is space again."""
        self.logs.unlink()
        (self.home / "logs, out of reach").rename(self.logs)
        self.full = False


class Mounted(Disk):
    """A file system of its own, filled to the last byte."""

    def fill(self) -> None:
        """Nothing more goes in."""
        with suppress(OSError), (self.home / "filler").open("ab", buffering=0) as filler:
            while True:
                filler.write(bytes(4096))
        self.full = True

    def empty(self) -> None:
        """There is space again."""
        (self.home / "filler").unlink()
        self.full = False


@contextmanager
def _mounted(folder: Path) -> Iterator[Disk]:
    tried = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if tried.returncode:
        pytest.skip("NO PERMISSION to mount a tmpfs; the same is tested with refused pages")
    try:
        yield Mounted(folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def _refused(folder: Path) -> Iterator[Disk]:
    disk = Disk(folder)

    def limit(connection: Any, _record: Any) -> None:
        file = next((row[2] for row in connection.execute("PRAGMA database_list")), "")
        if Path(file).is_relative_to(folder):
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            most = max(1, pages) if disk.full else 1073741823
            connection.execute(f"PRAGMA max_page_count = {most}")

    sa.event.listen(sa.pool.Pool, "connect", limit)
    try:
        yield disk
    finally:
        sa.event.remove(sa.pool.Pool, "connect", limit)


@pytest.fixture(scope="module")
def project() -> Iterator[Sandbox]:
    with start_sandbox(
        None, client_id=CLIENT, client_secret=SECRET, quota_per_minute=10_000_000
    ) as sandbox:
        yield sandbox


@pytest.fixture
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "home"
    folder.mkdir()
    make: Callable[[Path], Any] = request.param
    with make(folder) as made:
        yield made


@pytest.fixture
def clinic(
    disk: Disk, tmp_path: Path, project: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SmallClinic]:
    """The small clinic, with an instance on that disk."""
    overrides = {
        "compute_logs": {
            "module": _LOGS,
            "class": "LocalComputeLogManager",
            "config": {"base_dir": str(disk.logs)},
        },
        "telemetry": {"enabled": False},
    }
    with (
        small_clinic(tmp_path, project, monkeypatch) as made,
        dg.DagsterInstance.local_temp(str(disk.home), overrides=overrides) as instance,
    ):
        made.instance = instance
        assert made.run("Organization").success  # its files are there
        yield made


def _states(clinic: SmallClinic) -> dict[str, dict[State, int]]:
    with clinic.connections.manifest() as manifest:
        balances = manifest.balances()
    assert all(each.holds for each in balances.values())
    return {name: {s: n for s, n in b.by_state.items() if n} for name, b in balances.items()}


@pytest.mark.parametrize(
    ("disk", "moment"),
    [
        (_mounted, "after it"),
        (_refused, "from the beginning"),
        (_refused, "before the answer"),
        (_refused, "after it"),
    ],
    indirect=["disk"],
    ids=["tmpfs, after", "pages, from the beginning", "pages, before", "pages, after"],
)
def test_a_full_home_of_dagster_loses_no_row_and_doubles_none(
    clinic: SmallClinic, disk: Disk, project: Sandbox, moment: str
) -> None:
    """Whatever becomes of Dagster's run, the next one finds the account as Medplum is."""
    send = MedplumClient.post_bundle

    def sending(client: MedplumClient, body: bytes, entries: int) -> list[dict[str, Any]]:
        if moment == "before the answer":
            disk.fill()
        answer = send(client, body, entries)
        disk.fill()
        return answer

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(MedplumClient, "post_bundle", sending)
        if moment == "from the beginning":
            disk.fill()
        try:
            whole = clinic.run("Patient").success
        except Exception:  # noqa: BLE001 - whatever Dagster makes of it
            whole = False
    assert disk.full
    assert not whole, "the disk was full, and Dagster said nothing of it"
    before = _states(clinic).get("patients", {})
    assert before in ({}, {State.PENDING: 3}, {State.MIGRATED: 3}), before
    disk.empty()
    versions = project.stats()["versions"]
    assert clinic.run("Patient").success
    (settled,) = _states(clinic)["patients"].items()
    assert settled in ((State.MIGRATED, 3), (State.UNCHANGED, 3))
    written = project.stats()["versions"] - versions
    assert written == (0 if State.MIGRATED in before else 3)
