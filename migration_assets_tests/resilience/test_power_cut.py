"""Power cuts and copies: what was committed is there, and a torn end is no damage."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from random import Random

from migration_assets.manifest import Manifest
from migration_assets_tests.conftest import Clock
from migration_assets_tests.resilience.account import due, land, opened, stands

TORN = 20


def test_a_commit_is_on_the_disk_before_anybody_relies_on_it(tmp_path: Path, clock: Clock) -> None:
    """A queue is told to forget what was landed; Medplum is sent what was written down."""
    with opened(f"sqlite:///{tmp_path / 'manifest.db'}", clock) as manifest:
        for one in (manifest._engine, manifest._read):
            with one.begin() as connection:
                full = 2
                assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == full
                assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


def test_a_torn_log_ends_at_the_last_whole_commit(tmp_path: Path, clock: Clock) -> None:
    """What a power cut leaves of the -wal file, cut and spoilt at random places."""
    path = tmp_path / "manifest.db"
    with opened(f"sqlite:///{path}", clock) as manifest:
        _fill(manifest)
        chance = Random("torn")  # noqa: S311 - to be the same again
        for number in range(TORN):
            copy = tmp_path / f"copy{number}.db"
            shutil.copyfile(path, copy)
            log = bytearray(Path(f"{path}-wal").read_bytes())
            at = chance.randrange(len(log) // 2, len(log))
            torn = log[:at] + (b"" if number % 2 else bytes(len(log) - at))
            Path(f"{copy}-wal").write_bytes(torn)
            _makes_whole(copy, clock)


def test_a_file_copied_while_in_use_is_an_earlier_account(tmp_path: Path, clock: Clock) -> None:
    """With its -wal file it is all of it; alone, it stands where the last checkpoint left it."""
    path = tmp_path / "manifest.db"
    with opened(f"sqlite:///{path}", clock) as manifest:
        _fill(manifest)
        alone, whole = tmp_path / "alone.db", tmp_path / "whole.db"
        for each in (alone, whole):
            shutil.copyfile(path, each)
        shutil.copyfile(f"{path}-wal", f"{whole}-wal")
        with opened(f"sqlite:///{whole}", clock) as copy:
            assert stands(copy) == stands(manifest)
        _makes_whole(alone, clock)


def _fill(manifest: Manifest) -> None:
    for number in range(20):
        land(manifest, f"P{number}")
        manifest.settle(due(manifest), run_id=1)


def _makes_whole(path: Path, clock: Clock) -> None:
    """Pull again, settle what is pending: everything is there once."""
    with closing(sqlite3.connect(path)) as auditor:
        assert auditor.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with opened(f"sqlite:///{path}", clock) as manifest:
        land(manifest, *(f"P{number}" for number in range(20)))
        manifest.settle(due(manifest), run_id=2)
        pending, migrated, attempts = stands(manifest)
        assert (pending, migrated) == (0, 20)
        assert attempts == 20
