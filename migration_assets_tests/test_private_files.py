"""Files with patient data are their owner's only, whatever the umask and whatever stood there."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from migration_assets.manifest import Manifest
from migration_assets.private_files import write_private
from migration_assets_tests.conftest import Clock
from migration_assets_tests.manifest.rows import row


@pytest.fixture(autouse=True)
def generous_umask() -> Iterator[None]:
    """As most machines have it: whatever is created is readable by all."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("there", [False, True], ids=["new", "there already"])
def test_the_manifest_and_the_log_beside_it_are_for_their_owner_only(
    tmp_path: Path, clock: Clock, there: bool
) -> None:
    path = tmp_path / "manifest.db"
    beside = [path.with_name(path.name + end) for end in ("-wal", "-shm")]
    if there:
        path.touch(0o644)
        for each in beside:
            each.touch(0o644)
    manifest = Manifest(f"sqlite:///{path}", clock=clock)
    manifest.land("patients", [row("P1")], run_id=1, reopen=False)
    assert [_mode(each) for each in (path, *beside)] == [0o600] * 3
    manifest.close()


@pytest.mark.parametrize("there", [False, True], ids=["new", "there already"])
def test_a_report_is_for_its_owner_only(tmp_path: Path, there: bool) -> None:
    path = tmp_path / "profile.html"
    if there:
        path.write_text("older")
        path.chmod(0o644)
    write_private(path, b"<p>")
    assert (_mode(path), path.read_bytes()) == (0o600, b"<p>")
