"""Blank manifests: today's schema and no rows, migrated once a process, then copied or emptied.

Bringing a new manifest up takes 50 ms of SQLite's time and a second of PostgreSQL's, and several
hundred tests begin with one. What the schema changes themselves do is claimed where they are run,
on databases with nothing in them (manifest/test_schema.py).

Belongs here: making a manifest blank. Does not belong here: what is written to it, or claims.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
from psycopg import sql

from migration_assets.manifest import Manifest
from migration_assets.manifest.schema import metadata
from migration_assets.private_files import write_private

# Whatever a test may have changed besides rows; a table made again has another oid.
_SHAPE = """
    SELECT string_agg(part, ' ' ORDER BY part) FROM (
        SELECT format('%s:%s', oid, relnatts) FROM pg_class
            WHERE relnamespace = 'public'::regnamespace
        UNION ALL SELECT format('%s:%s', oid, tgenabled) FROM pg_trigger
        UNION ALL SELECT format('%s:%s', oid, prosrc) FROM pg_proc
            WHERE pronamespace = 'public'::regnamespace
        UNION ALL SELECT format('%s:%s', oid, convalidated) FROM pg_constraint
        UNION ALL SELECT version_num FROM alembic_version
        UNION ALL SELECT setconfig::text FROM pg_db_role_setting
    ) AS parts (part)
"""


@cache
def _migrated() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "manifest.db"
        _open_once(f"sqlite:///{path}")
        return path.read_bytes()


def _open_once(url: str) -> None:
    Manifest(url, clock=lambda: datetime.now(UTC)).close()


def blank_file(path: Path) -> str:
    """Write a blank SQLite manifest; its URL."""
    write_private(path, _migrated())
    return f"sqlite:///{path}"


@contextmanager
def own_database(server: str) -> Iterator[str]:
    """A database with nothing in it, not even tables, on a PostgreSQL server; its URL.

    Raises:
        psycopg.OperationalError: nothing answers there.
    """
    name = f"migration_test_{uuid.uuid4().hex}"
    with psycopg.connect(f"{server}/postgres", autocommit=True, connect_timeout=5) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        try:
            yield f"{server}/{name}"
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


class KeptDatabase:
    """One migrated PostgreSQL database, for one test after another."""

    def __init__(self, url: str) -> None:
        self.url = url
        _open_once(url)
        with psycopg.connect(url) as admin:
            self._made = admin.execute(_SHAPE).fetchone()

    def empty(self) -> bool:
        """Leave no row, and numbers that begin at one; False if more than rows was changed.

        Whoever is still connected is thrown out: a test that leaked a connection spoils no other.
        """
        with psycopg.connect(self.url) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            if admin.execute(_SHAPE).fetchone() != self._made:
                return False
            # Twice: the first time, triggers note in one table what goes from another.
            for table in 2 * [each.name for each in reversed(metadata.sorted_tables)]:
                admin.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))
            admin.execute(
                "SELECT setval(format('%I.%I', schemaname, sequencename)::regclass,"
                " start_value, false) FROM pg_sequences"
            )
        return True
