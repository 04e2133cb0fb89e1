"""`migration new` writes a project that works before anything is changed in it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from migration_assets.cli import app
from migration_assets_tests.cli.command import environment, migration

pytestmark = pytest.mark.timeout(300)
BIN = Path(sys.executable).parent


def run(*command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A command of the same environment, in the project's folder."""
    return subprocess.run(
        [BIN / command[0], *command[1:]],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("new")
    made = migration("new", "my_clinic", "--patients", "12", folder=folder)
    assert made.returncode == 0, made.stderr
    return folder / "my_clinic"


def test_its_own_tests_pass_as_they_stand(project: Path) -> None:
    """One of them goes the whole way: the clinic's API over HTTP, the account, Medplum."""
    ran = run("pytest", "-q", "-p", "no:cacheprovider", folder=project)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "skipped" not in ran.stdout


def test_dagster_loads_and_materializes_it(project: Path) -> None:
    """Only its own type: the package's other mappings have no stream in this source."""
    settings = dict(
        line.split("=", 1)
        for line in (project / ".env").read_text(encoding="utf-8").splitlines()
        if "=" in line and not line.startswith("#")
    )
    months = f"{settings['MIGRATION_START']}...{settings['MIGRATION_START']}"
    ran = run(
        "dagster", "asset", "materialize", "--select", "*", "-f", "definitions.py",
        "--partition-range", months, folder=project,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    balance = json.loads(migration("status", "--json", folder=project).stdout)
    assert list(balance["types"]) == ["Patient"]


def test_what_it_writes_is_as_tidy_as_its_authors_are_asked_to_be(project: Path) -> None:
    ran = run("ruff", "check", "--isolated", ".", folder=project)
    assert ran.returncode == 0, ran.stdout
    assert run("ruff", "format", "--isolated", "--check", "--line-length", "100", ".",
               folder=project).returncode == 0  # fmt: skip


def test_its_secrets_are_the_owners_and_never_in_git(project: Path) -> None:
    assert (project / ".env").stat().st_mode & 0o777 == 0o600
    assert ".env" in (project / ".gitignore").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["taken"], "not empty"),
        (["99 bottles"], "must be a Python name"),
        (["fresh", "--name", "My Clinic"], "must be a Python name"),
    ],
)
def test_nothing_of_somebody_elses_is_written_over(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    """In this process, by the command's own entry: starting it takes longer than its answer."""
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine").write_text("mine", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["migration", "new", *arguments])
    with pytest.raises(SystemExit) as ended:
        app()
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
    assert [each.name for each in (tmp_path / "taken").iterdir()] == ["mine"]
