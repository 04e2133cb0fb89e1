"""The services of these tests: a sandbox for each file, and a fork server."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from migration_assets.demo.medplum_sandbox import Sandbox, start_sandbox
from migration_assets_tests.resilience.nursery import Nursery, nursery


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with start_sandbox(
        None,
        client_id="5d1f0f3c-7c55-4a5f-9d0a-6f2b7e1c9a11",
        client_secret="invented",
        quota_per_minute=1_000_000_000,
    ) as started:
        yield started


@pytest.fixture(scope="module")
def lives() -> Iterator[Nursery]:
    with nursery() as started:
        yield started


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory where there is one: a kill loses nothing that a disk would keep."""
    shared = Path("/dev/shm")  # noqa: S108 - a folder of our own in it
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        yield Path(folder)
