"""A running Medplum sandbox, emptied before each test, and a client on it."""

from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from migration_assets.demo.medplum_sandbox import Sandbox, start_sandbox
from migration_assets.medplum import MedplumClient

SECRET = "invented-secret"
QUOTA = 1_000_000


@pytest.fixture(scope="module")
def running_sandbox() -> Iterator[Sandbox]:
    """One sandbox for the module."""
    with start_sandbox(
        None,
        client_id="5d1f0f3c-7c55-4a5f-9d0a-6f2b7e1c9a11",
        client_secret=SECRET,
        quota_per_minute=QUOTA,
    ) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running_sandbox: Sandbox) -> Sandbox:
    """The sandbox, empty, with its defaults."""
    running_sandbox.reset()
    running_sandbox.change(quota_per_minute=QUOTA, transactions=True)
    running_sandbox.refill()
    return running_sandbox


@pytest.fixture
def client(sandbox: Sandbox) -> MedplumClient:
    """A client whose waits refill the quota instead of taking a minute."""

    def sleep(_seconds: float) -> None:
        sandbox.refill()

    return MedplumClient(sandbox.base_url, sandbox.client_id, SecretStr(SECRET), sleep=sleep)
