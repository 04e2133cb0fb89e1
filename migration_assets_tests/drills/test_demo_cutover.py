"""`migration demo --cutover` from outside: a whole life, with people at work on both sides."""

import json
from pathlib import Path

import pytest

from migration_assets_tests.cli.command import migration, start

pytestmark = pytest.mark.timeout(500)


def test_the_demo_clinic_is_cut_over_and_back_and_over_and_no_edit_of_either_side_is_lost(
    tmp_path: Path,
) -> None:
    running = start("demo", "--cutover", "--patients", "10", folder=tmp_path)
    said, _ = running.communicate(timeout=450)
    assert running.returncode == 0, said
    for told in (
        "rolled back: the legacy system owns it again",
        "3 of 3 edits made in Medplum are kept there",
        "it is not frozen",
        "Each of them is in Medplum now",
    ):
        assert told in " ".join(said.split()), told
    status = migration("cutover", "Patient", "--status", "--json", folder=tmp_path)
    (last,) = json.loads(status.stdout)["cutovers"]
    assert (last["outcome"], last["due"]) == ("retired", None)
    report = tmp_path / last["steps"][-1]["evidence"]["page"]
    assert report.stat().st_mode & 0o077 == 0
    assert "retired" in (tmp_path / ".demo" / "cutover" / "adoption.toml").read_text()
    assert migration("demo", "--reset", folder=tmp_path).returncode == 0
    assert not (tmp_path / ".demo").exists()
