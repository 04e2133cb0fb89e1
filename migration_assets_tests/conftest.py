"""What every test gets: a clean environment, and the services it asks for by name.

A test that needs PostgreSQL skips loudly where none answers, and fails instead where
MIGRATION_TEST_REQUIRE_POSTGRES is set, as CI sets it.

Hypothesis draws the same examples every time: a failure is then the last change's doing, and comes
back when it is looked for. MIGRATION_TEST_EXPLORE=1 draws others, and so does whoever asks for more
of them (MIGRATION_MACHINE_EXAMPLES, MIGRATION_FUZZ_CASES) or for a seed (``--hypothesis-seed=N``).
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from hypothesis import settings
from hypothesis.internal.conjecture import providers

from migration_assets.manifest import Manifest
from migration_assets_tests.blank_accounts import KeptDatabase, blank_file, own_database

if TYPE_CHECKING:
    from migration_assets.demo.medplum_sandbox import Sandbox

SECRET = "invented"
_POSTGRES = os.environ.get("MIGRATION_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432")
_REQUIRED = bool(os.environ.get("MIGRATION_TEST_REQUIRE_POSTGRES"))
_EXPLORING = ("MIGRATION_TEST_EXPLORE", "MIGRATION_MACHINE_EXAMPLES", "MIGRATION_FUZZ_CASES")
_OURS = ("MIGRATION_", "MEDPLUM_", "DAGSTER_")


# No deadline: how long an example takes says something of the machine, not of what is claimed.
settings.register_profile("same", derandomize=True, database=None, deadline=None)
settings.register_profile("explore", deadline=None, print_blob=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite the golden files of the mappings"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Choose the profile before any test module is imported: settings are made at import."""
    seeded = config.getoption("hypothesis_seed", default=None) is not None
    if seeded or any(os.environ.get(name) for name in _EXPLORING):
        settings.load_profile("explore")
        return
    settings.load_profile("same")
    # Else one draw in forty is a number or a text out of whichever of our modules are loaded by
    # then: it would change with every line of ours, and with the tests that ran before.
    vars(providers)["is_local_module_file"] = lambda _path: False


# They wait for other processes most of the time. Begun last, one of them would keep a worker busy
# for minutes while the other has nothing left (with --no-loadscope-reorder; xdist itself begins
# with the files that have most tests).
_BEGUN_FIRST = (
    "ui/", "drills/", "resilience/", "delivery/", "defs/test_backfills", "test_canary", "canary/",
    "test_docs", "cli/", "test_crash_machine", "replica/", "third_party/", "defs/",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that take longest, file by file; otherwise in the order they have."""

    def place(item: pytest.Item) -> int:
        path = item.path.as_posix().rpartition("migration_assets_tests/")[2]
        ranks = (rank for rank, begin in enumerate(_BEGUN_FIRST) if path.startswith(begin))
        return next(ranks, len(_BEGUN_FIRST))

    items.sort(key=place)


@pytest.fixture(autouse=True)
def clean_environ(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the developer's machine reaches a test, nor a .env of the checkout."""
    for name in list(os.environ):
        if name.startswith(_OURS):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@contextmanager
def _on_postgres() -> Iterator[str]:
    with ExitStack() as opened:
        try:
            url = opened.enter_context(own_database(_POSTGRES))
        except psycopg.OperationalError as error:
            if _REQUIRED:
                raise
            pytest.skip(f"NO POSTGRESQL at {_POSTGRES}: set MIGRATION_TEST_POSTGRES ({error})")
        yield url


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """An empty PostgreSQL database of this test's own."""
    with _on_postgres() as url:
        yield url


@pytest.fixture(scope="session")
def kept_databases() -> Iterator[Callable[[], str]]:
    """Gives the URL of a PostgreSQL database whose manifest is blank: the same one each time."""
    with ExitStack() as opened:
        kept: list[KeptDatabase] = []

        def blank() -> str:
            if not kept or not kept[-1].empty():
                kept.append(KeptDatabase(opened.enter_context(_on_postgres())))
            return kept[-1].url

        yield blank


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without even tables, on each database in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'manifest.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture(params=["sqlite", "postgres"])
def manifest_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a blank manifest, on each database in turn."""
    if request.param == "sqlite":
        return blank_file(tmp_path / "manifest.db")
    blank: Callable[[], str] = request.getfixturevalue("kept_databases")
    return blank()


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        """The time it shows."""
        return self.now


@pytest.fixture(scope="module")
def running() -> Iterator["Sandbox"]:
    """A Medplum project for the module; its tests reset it. Its client's secret is ``SECRET``."""
    from migration_assets.demo.medplum_sandbox import start_sandbox  # noqa: PLC0415 - not for all

    with start_sandbox(
        None,
        client_id="5d1f0f3c-7c55-4a5f-9d0a-6f2b7e1c9a11",
        client_secret=SECRET,
        quota_per_minute=10_000_000,
    ) as sandbox:
        yield sandbox


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
