"""The database is locked or gone for a minute: a run waits; what Medplum answered is not forgotten.

Nobody sleeps here: the sleep that a run is given is where the database comes back, or does not.
"""

import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import sqlalchemy as sa

from migration_assets.errors import Transient
from migration_assets.manifest import engine
from migration_assets.manifest.outages import PAUSES, Away
from migration_assets_tests.conftest import Clock
from migration_assets_tests.resilience.account import due, land, opened, stands


def test_a_lock_that_outlasts_the_busy_time_is_waited_for(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_BUSY_SECONDS", 0)
    path, slept = tmp_path / "manifest.db", list[float]()
    other = sqlite3.connect(path, isolation_level=None)

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            other.execute("COMMIT")

    with opened(f"sqlite:///{path}", clock, sleep) as manifest:
        land(manifest, "P1", "P2")
        answers = due(manifest)
        other.execute("BEGIN EXCLUSIVE")
        assert manifest.settle(answers, run_id=1) == 2
        assert slept == list(PAUSES[:3])
        assert stands(manifest) == (0, 2, 2)
    other.close()


def test_a_lock_that_stays_ends_the_run_with_everything_kept(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_BUSY_SECONDS", 0)
    path, slept = tmp_path / "manifest.db", list[float]()
    other = sqlite3.connect(path, isolation_level=None)
    with opened(f"sqlite:///{path}", clock, slept.append) as manifest:
        land(manifest, "P1")
        answers = due(manifest)
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Away, match="locked by another process"):
            manifest.settle(answers, run_id=1)
        assert slept == list(PAUSES)
        other.execute("COMMIT")
        assert stands(manifest) == (1, 0, 0)
        assert manifest.settle(answers, run_id=1) == 1
    other.close()


def test_terminated_sessions_cost_a_run_nothing(postgres_url: str, clock: Clock) -> None:
    """Between two transactions, and in the middle of one."""
    with opened(postgres_url, clock) as manifest:
        land(manifest, "P1", "P2")
        answers = due(manifest)
        _terminate(postgres_url)
        land(manifest, "P3")
        with _at_the("before_cursor_execute", manifest._engine.engine, "INSERT", postgres_url):
            assert manifest.settle(answers, run_id=1) == 2
        assert stands(manifest) == (1, 2, 2)


def test_a_lost_answer_to_commit_doubles_no_attempt(manifest_url: str, clock: Clock) -> None:
    """Nobody knows whether it took effect: the attempts are there, and must not be there twice."""
    with opened(manifest_url, clock) as manifest:
        land(manifest, "P1", "P2")
        answers = due(manifest)
        committed = sa.engine.default.DefaultDialect.do_commit
        with pytest.MonkeyPatch.context() as patched:
            lost = iter([True])

            def commit(dialect: object, connection: object) -> None:
                committed(dialect, connection)  # type: ignore[arg-type,no-untyped-call]
                if next(lost, False):
                    raise Away("the answer is lost")

            patched.setattr(sa.engine.default.DefaultDialect, "do_commit", commit)
            assert manifest.settle(answers, run_id=1) == 2
        assert stands(manifest) == (0, 2, 2)


def test_a_server_that_refuses_for_a_while_is_waited_for(postgres_url: str, clock: Clock) -> None:
    with _proxy(postgres_url) as proxy:
        slept: list[float] = []

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            clock.now += timedelta(seconds=seconds)
            if sum(slept) > 60:
                proxy.come_back()

        with opened(proxy.url, clock, sleep) as manifest:
            land(manifest, "P1", "P2")
            answers = due(manifest)
            proxy.go_away()
            assert manifest.settle(answers, run_id=1) == 2
            assert sum(slept) > 60
            assert stands(manifest) == (0, 2, 2)


def test_a_server_that_stays_away_is_said_to_be(postgres_url: str, clock: Clock) -> None:
    with _proxy(postgres_url) as proxy:
        with opened(proxy.url, clock) as manifest:
            land(manifest, "P1")
            proxy.go_away()
            with pytest.raises(Transient, match="MIGRATION_MANIFEST_URL"):
                land(manifest, "P2")
            proxy.come_back()
            land(manifest, "P2")
            assert stands(manifest) == (2, 0, 0)
        proxy.go_away()
        with pytest.raises(Transient, match="up and reachable"), opened(proxy.url, clock):
            pass


def _terminate(url: str) -> None:
    """End every other session of the database."""
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


@contextmanager
def _at_the(event: str, found: sa.Engine, statement: str, url: str) -> Iterator[None]:
    """End every session when such a statement is about to be sent for the first time."""
    left = iter([True])

    def listener(_c: object, _cursor: object, text: str, *_: object) -> None:
        if text.startswith(statement) and next(left, False):
            _terminate(url)

    sa.event.listen(found, event, listener)
    yield
    assert next(left, None) is None
    sa.event.remove(found, event, listener)


class _Proxy:
    """Stands between a run and its PostgreSQL server, and may hang up."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname or "", parts.port or 5432)
        self._listener: socket.socket | None = None
        self._open: list[socket.socket] = []
        self.port = 0
        self.come_back()
        self.url = url.replace(f"{parts.hostname}:{parts.port}", f"127.0.0.1:{self.port}")

    def come_back(self) -> None:
        """Accept connections again, at the same address."""
        if self._listener is not None:
            return
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        self._start(self._accept, self._listener)

    def go_away(self) -> None:
        """Hang up on everybody, and refuse who comes."""
        if self._listener is not None:
            # close() alone would leave the thread's accept() listening.
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        self._listener = None
        for each in self._open:
            _hang_up(each)
        self._open.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._server)
            self._open += [client, server]
            self._start(_pump, client, server)
            self._start(_pump, server, client)

    @staticmethod
    def _start(target: Callable[..., None], *arguments: object) -> None:
        threading.Thread(target=target, args=arguments, daemon=True).start()


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while got := source.recv(1 << 16):
            target.sendall(got)
    except OSError:
        pass
    _hang_up(source)
    _hang_up(target)


def _hang_up(one: socket.socket) -> None:
    with suppress(OSError):  # it was hung up on the other side
        one.shutdown(socket.SHUT_RDWR)
    one.close()


@contextmanager
def _proxy(url: str) -> Iterator[_Proxy]:
    proxy = _Proxy(url)
    try:
        yield proxy
    finally:
        proxy.go_away()
