"""The installations that drills are held in, and the services they need."""

import fcntl
import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from migration_assets_tests.drills.installation import ROOT, Installation, installation

ONE_MACHINE = ROOT / "migration_assets" / "defs" / "dagster.yaml"
SEVERAL = ROOT / "deploy" / "dagster.yaml"
REDIS = os.environ.get("MIGRATION_TEST_REDIS", "redis://127.0.0.1:6379")
RABBITMQ = os.environ.get("MIGRATION_TEST_RABBITMQ", "pyamqp://guest:guest@127.0.0.1:5672//")
_REQUIRED = bool(os.environ.get("MIGRATION_TEST_REQUIRE_SERVICES"))
_PATIENTS = int(os.environ.get("MIGRATION_DRILL_PATIENTS", "10"))


def needs(name: str, url: str) -> None:
    """Skip loudly where a service does not listen; fail where it is required."""
    host, _, port = url.partition("://")[2].rpartition("@")[2].partition("/")[0].partition(":")
    with socket.socket() as probe:
        probe.settimeout(5)
        if probe.connect_ex((host, int(port))) == 0:
            return
    if _REQUIRED:
        pytest.fail(f"NO {name} at {host}:{port}, and MIGRATION_TEST_REQUIRE_SERVICES is set")
    pytest.skip(f"NO {name} at {host}:{port}: set MIGRATION_TEST_{name}")


@pytest.fixture(scope="session", autouse=True)
def stoppable() -> Iterator[None]:
    """A SIGTERM ends a drill as Ctrl-C does: whatever it started is ended first."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def one_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    """SQLite and the default run launcher."""
    with installation(tmp_path / "one", ONE_MACHINE, {}, patients=_PATIENTS) as made:
        monkeypatch.setenv("DAGSTER_HOME", made.variables["DAGSTER_HOME"])
        yield made


@contextmanager
def _alone() -> Iterator[None]:
    """One at a time on this machine: workers of two installations would take each other's runs."""
    with (Path(tempfile.gettempdir()) / "migration-drills.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def several_machines(
    folder: Path,
    postgres_url: str,
    broker: str,
    *,
    limit: tuple[int, int] | None = None,
    patients: int = _PATIENTS,
) -> Iterator[Installation]:
    """PostgreSQL for storage, results and the account, and Celery workers on a broker."""
    needs("REDIS" if broker == REDIS else "RABBITMQ", broker)
    # Not the account's: both keep their schema's version in a table called alembic_version.
    name = f"{postgres_url.rpartition('/')[2]}_dagster"
    at = f"{postgres_url.partition('://')[2]}_dagster"
    # A virtual host would be a test's own in RabbitMQ; a number does it in Redis.
    variables = {
        "DAGSTER_PG_URL": f"postgresql+psycopg2://{at}",
        "CELERY_BROKER_URL": f"{broker}/7" if broker == REDIS else broker,
        "CELERY_RESULT_BACKEND": f"db+postgresql+psycopg2://{at}",
        "MIGRATION_MANIFEST_URL": postgres_url,
    }
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        try:
            with (
                _alone(),
                installation(folder, SEVERAL, variables, patients=patients, limit=limit) as made,
            ):
                yield made
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
