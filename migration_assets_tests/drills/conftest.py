"""The installations that drills are held in: one for each file, its processes started as needed."""

import os
import signal
from collections.abc import Iterator

import pytest

from migration_assets_tests.drills.installation import ONE_MACHINE, Installation, installation
from migration_assets_tests.drills.several import several_machines

PATIENTS = int(os.environ.get("MIGRATION_DRILL_PATIENTS", "10"))
MONTHS = 3


@pytest.fixture(scope="session", autouse=True)
def stoppable() -> Iterator[None]:
    """A SIGTERM ends a drill as Ctrl-C does: whatever it started is ended first.

    Ctrl-C itself is ignored by whatever a shell starts in the background.
    """
    how = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(each, signal.default_int_handler) for each in how]
    yield
    for each, handler in zip(how, before, strict=True):
        signal.signal(each, handler)


@pytest.fixture(scope="module")
def _one_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("one")
    with installation(folder, ONE_MACHINE, {}, patients=PATIENTS, months=MONTHS) as made:
        yield made


@pytest.fixture(scope="module")
def _several(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with several_machines(
        tmp_path_factory.mktemp("several"), patients=PATIENTS, months=MONTHS
    ) as made:
        yield made


@pytest.fixture
def one_machine(_one_machine: Installation, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """SQLite and the default run launcher; its variables are this process's as well."""
    return _in_its_environment(_one_machine, monkeypatch)


@pytest.fixture
def celery(_several: Installation, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """PostgreSQL and Celery workers on Redis."""
    return _in_its_environment(_several, monkeypatch)


def _in_its_environment(made: Installation, monkeypatch: pytest.MonkeyPatch) -> Installation:
    made.clinic.open()
    made.medplum.open()
    for name, value in made.variables.items():
        monkeypatch.setenv(name, value)
    return made
