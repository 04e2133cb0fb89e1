"""The disk is full: a clear word, nothing half-written, and the next run with space completes.

SQLite's own page limit, and the kernel's limit on file sizes, are real; a full PostgreSQL disk is
injected at the driver, for its server is not ours to fill.
"""

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from migration_assets.errors import Transient
from migration_assets.manifest import Manifest
from migration_assets_tests.conftest import Clock
from migration_assets_tests.resilience.account import MANY, due, land, opened, stands, wide

KEYS = [f"Q{each}" for each in range(MANY)]


@pytest.fixture
def full(request: pytest.FixtureRequest, manifest_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A disk that is full for as long as the block runs."""
    return _no_more_pages if manifest_url.startswith("sqlite") else _driver_says_full


def test_a_page_is_landed_whole_or_not_at_all(manifest_url: str, clock: Clock, full: Any) -> None:
    with opened(manifest_url, clock) as manifest:
        land(manifest, "P1")
        with full(manifest), pytest.raises(Transient, match=r"full.*run again when there is space"):
            land(manifest, *KEYS, text=wide)
        assert stands(manifest) == (1, 0, 0)
        land(manifest, *KEYS, text=wide)
        assert stands(manifest) == (1 + MANY, 0, 0)


def test_what_cannot_be_settled_stays_a_debt(manifest_url: str, clock: Clock, full: Any) -> None:
    with opened(manifest_url, clock) as manifest:
        land(manifest, *KEYS)
        answers = due(manifest)
        with full(manifest), pytest.raises(Transient, match="run again when there is space"):
            manifest.settle(answers, run_id=1)
        assert stands(manifest) == (MANY, 0, 0)
        assert manifest.settle(answers, run_id=1) == MANY
        assert stands(manifest) == (0, MANY, MANY)


def test_a_limit_on_file_sizes_is_said_as_such(
    tmp_path: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quota answers with another error than a full disk, in the middle of a write."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with opened(f"sqlite:///{tmp_path / 'manifest.db'}", clock) as manifest:
        land(manifest, "P1")
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))
            with pytest.raises(Transient, match=r"disk I/O error|full"):
                land(manifest, *KEYS, text=wide)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)
        assert stands(manifest) == (1, 0, 0)
        land(manifest, *KEYS, text=wide)
        assert stands(manifest) == (1 + MANY, 0, 0)


@contextmanager
def _no_more_pages(manifest: Manifest) -> Iterator[None]:
    """SQLite may not add a page to the file."""

    def limit(connection: Any) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    sa.event.listen(manifest._engine.engine, "begin", limit)
    try:
        yield
    finally:
        sa.event.remove(manifest._engine.engine, "begin", limit)
        with manifest._engine.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 1073741823")


@contextmanager
def _driver_says_full(_manifest: Manifest) -> Iterator[None]:
    def full(*_: Any, **__: Any) -> Any:
        raise psycopg.errors.DiskFull("could not extend file")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(psycopg.Cursor, "executemany", full)
        before = psycopg.Cursor.execute

        def execute(cursor: Any, query: Any, *rest: Any, **named: Any) -> Any:
            if str(query).startswith(("INSERT", "UPDATE")):
                full()
            return before(cursor, query, *rest, **named)

        patched.setattr(psycopg.Cursor, "execute", execute)
        yield
