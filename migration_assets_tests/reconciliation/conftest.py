"""A running Medplum sandbox for the module, emptied before each test, and a clinic on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets.manifest import Manifest
from migration_assets.medplum import MedplumClient
from migration_assets_tests.blank_accounts import blank_file
from migration_assets_tests.conftest import SECRET, Clock
from migration_assets_tests.reconciliation.clinic import Clinic
from migration_assets_tests.scripted import NOW


@pytest.fixture
def sandbox(running: Sandbox) -> Sandbox:
    running.behave()
    running.reset()
    running.refill()
    return running


def _open(url: str, clock: Clock, sandbox: Sandbox) -> Iterator[Clinic]:
    clock.now = NOW
    account = Manifest(url, clock=clock)
    client = MedplumClient(
        sandbox.base_url, sandbox.client_id, SecretStr(SECRET), sleep=lambda _seconds: None
    )
    yield Clinic(account, client, clock)
    client.close()
    account.close()


@pytest.fixture
def clinic(tmp_path: Path, clock: Clock, sandbox: Sandbox) -> Iterator[Clinic]:
    """A clinic whose account is on SQLite."""
    yield from _open(blank_file(tmp_path / "manifest.db"), clock, sandbox)


@pytest.fixture
def on_each(manifest_url: str, clock: Clock, sandbox: Sandbox) -> Iterator[Clinic]:
    """A clinic on each database in turn, for what is SQL."""
    yield from _open(manifest_url, clock, sandbox)
