"""The two servers of the module, and a world of each test's own on each database in turn."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from migration_assets.demo.clinic_server import Clinic, start_clinic
from migration_assets.demo.clinic_store import ClinicStore
from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets.manifest import Manifest
from migration_assets.medplum import MedplumClient
from migration_assets_tests.blank_accounts import blank_file
from migration_assets_tests.conftest import SECRET
from migration_assets_tests.demo.founding import ADMIN_KEY, API_KEY
from migration_assets_tests.write_back.world import World, now


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Clinic, Path]]:
    """A clinic without rows, and its database."""
    path = tmp_path_factory.mktemp("clinic") / "clinic.db"
    ClinicStore(path).close()
    with start_clinic(path, api_key=API_KEY, admin_key=ADMIN_KEY) as clinic:
        yield clinic, path


@pytest.fixture
def client(running: Sandbox) -> Iterator[MedplumClient]:
    """A Medplum without resources."""
    running.reset()
    made = MedplumClient(running.base_url, running.client_id, SecretStr(SECRET))
    yield made
    made.close()


@pytest.fixture
def world(desk: tuple[Clinic, Path], client: MedplumClient, manifest_url: str) -> Iterator[World]:
    """A clinic that was migrated and flipped, on each database in turn."""
    account = Manifest(manifest_url, clock=now)
    yield World(*desk, client, account).migrated()
    account.close()


@pytest.fixture
def one_world(desk: tuple[Clinic, Path], client: MedplumClient, tmp_path: Path) -> Iterator[World]:
    """The same on SQLite, for what does not depend on the database."""
    account = Manifest(blank_file(tmp_path / "manifest.db"), clock=now)
    yield World(*desk, client, account).migrated()
    account.close()
