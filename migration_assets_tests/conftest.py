"""What every test gets: a clean environment, and the services it asks for by name.

A test that needs PostgreSQL skips loudly where none answers, and fails instead where
MIGRATION_TEST_REQUIRE_POSTGRES is set, as CI sets it.
"""

import os
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from migration_assets.manifest import Manifest

_POSTGRES = os.environ.get("MIGRATION_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432")
_REQUIRED = bool(os.environ.get("MIGRATION_TEST_REQUIRE_POSTGRES"))
_OURS = ("MIGRATION_", "MEDPLUM_", "DAGSTER_")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite the golden files of the mappings"
    )


@pytest.fixture(autouse=True)
def clean_environ(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the developer's machine reaches a test, nor a .env of the checkout."""
    for name in list(os.environ):
        if name.startswith(_OURS):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """An empty PostgreSQL database of this test's own."""
    name = f"migration_test_{uuid.uuid4().hex}"
    try:
        admin = psycopg.connect(f"{_POSTGRES}/postgres", autocommit=True, connect_timeout=5)
    except psycopg.OperationalError as error:
        if _REQUIRED:
            raise
        pytest.skip(f"NO POSTGRESQL at {_POSTGRES}: set MIGRATION_TEST_POSTGRES ({error})")
    with admin:
        admin.execute(f"CREATE DATABASE {name}")
        yield f"{_POSTGRES}/{name}"
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgres"])
def manifest_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty manifest, on each database in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'manifest.db'}"
    return str(request.getfixturevalue("postgres_url"))


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        """The time it shows."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The virtual clock of a test."""
    return Clock()


@pytest.fixture
def manifest(manifest_url: str, clock: Clock) -> Iterator[Manifest]:
    """An open, empty manifest, on each database in turn."""
    opened = Manifest(manifest_url, clock=clock)
    yield opened
    opened.close()
