"""The systemd units: systemd itself reads them, and finds nothing that could be taken away."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).parents[2] / "deploy" / "systemd"
UNITS = sorted(SYSTEMD.glob("*.service"))
EXPOSURE = "20"
"""systemd's own score, in tenths: under 2.0 of 10."""


def _loaded(tmp_path: Path) -> Path:
    """The units with commands of this environment, so that systemd can look for them."""
    folder = tmp_path / "units"
    shutil.copytree(SYSTEMD, folder)
    for unit in folder.glob("*.service"):
        text = unit.read_text(encoding="utf-8")
        ours = str(Path(sys.executable).parent)
        unit.write_text(text.replace("/opt/migration/.venv/bin", ours), encoding="utf-8")
    return folder


def _analyze(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("NO SYSTEMD-ANALYZE (Debian's package systemd): the units were not verified")
    return subprocess.run(
        [analyze, *words], env={"SYSTEMD_UNIT_PATH": f"{folder}:", "PATH": "/usr/bin:/bin"},
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip


def _instance(unit: Path) -> str:
    return unit.name.replace("@", "@1")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_finds_no_fault_with_the_unit(unit: Path, tmp_path: Path) -> None:
    ran = _analyze(_loaded(tmp_path), "verify", "--man=no", f"./{_instance(unit)}")
    ours = [each for each in ran.stderr.splitlines() if "migration" in each]
    assert ran.returncode == 0, ran.stderr
    assert not ours, ours


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_the_hardening_reaches_every_unit(unit: Path, tmp_path: Path) -> None:
    """It is one drop-in for all: renamed, a unit would lose it and say nothing."""
    ran = _analyze(
        _loaded(tmp_path), "security", "--offline=true", f"--threshold={EXPOSURE}",
        f"./{_instance(unit)}",
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-300:] + ran.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_nothing_listens_to_other_machines(unit: Path) -> None:
    """The webserver has no login, and whoever reaches the code server runs code."""
    command = re.search(r"^ExecStart=(.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE)
    assert command
    if "--port" in command[1]:
        assert "--host 127.0.0.1" in command[1]


def test_the_target_wants_units_that_exist() -> None:
    wanted = re.findall(r"^Wants=(.*)$", (SYSTEMD / "migration.target").read_text(), re.MULTILINE)
    names = {re.sub(r"@\d", "@", each) for line in wanted for each in line.split()}
    assert names == {each.name for each in UNITS}
