"""What several modules here share: one sandbox, and a small clinic beside it for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from migration_assets.demo.medplum_sandbox import Sandbox, start_sandbox
from migration_assets_tests.defs.small_clinic import CLIENT, SECRET, SmallClinic, small_clinic


@pytest.fixture(scope="session")
def small_project() -> Iterator[Sandbox]:
    """A Medplum project that every small clinic finds empty."""
    with start_sandbox(
        None, client_id=CLIENT, client_secret=SECRET, quota_per_minute=10_000_000
    ) as sandbox:
        yield sandbox


@pytest.fixture
def clinic(
    tmp_path: Path, small_project: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SmallClinic]:
    """Three patients of one organization, to be migrated."""
    with small_clinic(tmp_path, small_project, monkeypatch) as made:
        yield made
