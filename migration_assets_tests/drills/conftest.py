"""The installations that drills are held in, and the services they need."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

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


@pytest.fixture
def one_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    """SQLite and the default run launcher."""
    with installation(tmp_path / "one", ONE_MACHINE, {}, patients=_PATIENTS) as made:
        monkeypatch.setenv("DAGSTER_HOME", made.variables["DAGSTER_HOME"])
        yield made
