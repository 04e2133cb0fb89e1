"""One migrated account for the module: making it takes longer than any report."""

from pathlib import Path

import pytest

from migration_assets.demo.medplum_sandbox import start_sandbox
from migration_assets_tests.signoff.account import SECRET, Account, make


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Account:
    folder: Path = tmp_path_factory.mktemp("signoff")
    with start_sandbox(
        None,
        client_id="5d1f0f3c-7c55-4a5f-9d0a-6f2b7e1c9a11",
        client_secret=SECRET,
        quota_per_minute=10_000_000,
    ) as sandbox:
        return make(folder, sandbox)  # later nothing answers: whatever asked Medplum would fail


@pytest.fixture
def account(made: Account, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Account:
    """The account, as the settings of a process that runs in an empty folder name it."""
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return made
