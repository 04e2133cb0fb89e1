"""Opening the manifest: one engine, its schema brought up to date, its file private.

Belongs here: everything that differs between SQLite and PostgreSQL before the first query.
``hide_parameters``: SQLAlchemy's errors would otherwise quote source keys and payloads.

Dagster and the manifest in one PostgreSQL database: each in a schema of its own, which the URL's
``options=-csearch_path%3D…`` names. A version table under another name would not be enough: both
have a table ``runs`` besides ``alembic_version``, and Dagster takes the manifest's for its own.
"""

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy.engine import make_url

from migration_assets.errors import Permanent, Transient
from migration_assets.manifest.outages import Away, in_our_words
from migration_assets.private_files import claim

_BUSY_SECONDS = 60  # another process's landing transaction is short; a minute means it hangs
_READ = "migration_read"  # execution option: this transaction only reads


def open_engine(url: str) -> sa.Engine:
    """An engine on the manifest at ``url``, created and upgraded if need be.

    Raises:
        Permanent: the URL is unusable, or the manifest was written by a newer version, or another
            program keeps its tables there.
        Transient: the database cannot be reached now.
    """
    engine = _sqlite(url) if url.startswith("sqlite") else _server(url)
    _say_what_to_do(engine)  # first: the driver's text may quote the URL with its password
    try:
        _upgrade(engine)
    except Away:
        engine.dispose()
        raise Transient(
            f"Opening the manifest ({engine.url.drivername}) failed: nothing answers, or another "
            "process holds it. Check that MIGRATION_MANIFEST_URL names a database that is up and "
            "reachable, and run again."
        ) from None
    except Permanent:
        engine.dispose()
        raise
    return engine


def _say_what_to_do(engine: sa.Engine) -> None:
    """Turn what a database says when it is locked, full, gone or damaged into our own words."""

    @sa.event.listens_for(engine, "handle_error")
    def _translate(context: sa.engine.ExceptionContext) -> None:
        told = in_our_words(context)
        if told is not None:
            raise told from None


def reading(engine: sa.Engine) -> sa.Engine:
    """The same engine for transactions that only read: they take no write lock on SQLite."""
    return engine.execution_options(**{_READ: True})


def _sqlite(url: str) -> sa.Engine:
    path = make_url(url).database
    if path and path != ":memory:":
        claim(Path(path))
    engine = sa.create_engine(url, connect_args={"timeout": _BUSY_SECONDS}, hide_parameters=True)

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        # The driver's own transaction control begins lazily and cannot say IMMEDIATE.
        connection.isolation_level = None
        for pragma in (
            "journal_mode=WAL",
            # NORMAL may lose the last commits with the power: rows that a queue was told to
            # forget, and what was about to be sent to Medplum. One fsync a commit; see the bench.
            "synchronous=FULL",
            "secure_delete=ON",  # what is sealed or purged must not stay in free pages
            f"busy_timeout={_BUSY_SECONDS}000",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # A transaction that reads first and writes later would fail with SQLITE_BUSY at once,
        # without waiting: two processes on one type did that. IMMEDIATE waits its turn.
        read_only = connection.get_execution_options().get(_READ, False)
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


def _server(url: str) -> sa.Engine:
    if url.startswith(("postgresql://", "postgres://")):
        url = "postgresql+psycopg://" + url.split("://", 1)[1]
    try:
        return sa.create_engine(url, pool_pre_ping=True, hide_parameters=True)
    except (sa.exc.ArgumentError, ModuleNotFoundError) as error:
        raise Permanent(
            f"MIGRATION_MANIFEST_URL cannot be used ({type(error).__name__}). Use "
            "sqlite:///path/to/manifest.db or postgresql://user:password@host/database "
            "(pip install 'migration_assets[postgres]')."
        ) from None


def _upgrade(engine: sa.Engine) -> None:
    config = Config()
    config.set_main_option("script_location", "migration_assets:manifest/migrations")
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            # Two processes opening a new manifest at once would both create it.
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7203517)")
            _make_schema(connection)
        _refuse_a_place_that_is_taken(connection)
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise Permanent(
                "The manifest was written by a newer version of migration_assets than this one. "
                "Install that version or a later one."
            ) from error


def _make_schema(connection: sa.Connection) -> None:
    """The schema that the URL names, where there is none yet."""
    if connection.scalar(sa.text("SELECT current_schema()")) is None:
        path = connection.scalar(sa.text("SHOW search_path"))
        name = str(path).partition(",")[0].strip().strip('"')
        connection.execute(sa.schema.CreateSchema(name, if_not_exists=True))


def _refuse_a_place_that_is_taken(connection: sa.Connection) -> None:
    """Before the first table is made: Dagster's tables have two of our names."""
    present = sa.inspect(connection)
    if present.has_table("units"):
        return
    if {"alembic_version", "runs"} & set(present.get_table_names()):
        raise Permanent(
            "Opening the manifest failed: where MIGRATION_MANIFEST_URL points, another program "
            "keeps its tables (Dagster has two of the same name). Nothing was changed. Name a "
            "database of its own, or a schema of its own in the same PostgreSQL database: add "
            "?options=-csearch_path%3Dmigration to the URL."
        )
