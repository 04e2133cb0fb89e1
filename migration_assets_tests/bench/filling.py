"""A manifest of any size, as the product would have left it: rows that the database makes itself.

What landing writes a page at a time is written by INSERT … SELECT here, at the schema before the
tallies, without indexes at first: 10 million units in minutes. Opening it afterwards is the upgrade
that a clinic in the middle of its migration gets.

Belongs here: filling. Does not belong here: what is measured on it.
"""

# ruff: noqa: S608 - statements are put together from the names in this file, and from nothing else

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import psycopg
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from migration_assets.manifest.payload import pack
from migration_assets.mappings import discover

BEFORE = "0009"
"""The schema that is filled."""

RUNS = 2_000
YEARS = 8
_AT_ONCE = 250_000
_DISTINCT = 500
_DAY = 86_400_000_000
_FIRST = 1_483_228_800_000_000  # 2017-01-01
_WEIGHTS = {"Observation": 10, "Encounter": 3, "DiagnosticReport": 2, "Condition": 2}


def row(number: int) -> dict[str, Any]:
    """An invented row of about 600 bytes."""
    return {
        "id": f"K{1_000_000_000 + number}",
        "patient_id": f"P{number * 7919 % 1_000_003:07d}",
        "name": {"family": f"Family{number * 31 % 99_991}", "given": [f"Given{number % 9_973}"]},
        "birth_date": f"19{number % 90 + 10}-{number % 12 + 1:02d}-{number % 28 + 1:02d}",
        "address": {"line": f"{number % 9_999} Long Street", "postal": f"{number % 99_999:05d}"},
        "phone": f"+1-555-{number * 104_729 % 9_999_999:07d}",
        "email": f"someone{number * 15_485_863 % 999_999_937}@example.org",
        "note": " ".join(f"{number * each % 1_000_003:x}" for each in range(3, 43)),
        "clinic": number % 17,
        "flags": {"active": number % 3 > 0, "deceased": False},
        "updated_at": f"2025-{number % 12 + 1:02d}-{number % 28 + 1:02d}T08:00:00Z",
    }


def fill(url: str, size: int) -> None:
    """Fill an empty database at ``url`` with so many units and all that goes with them."""
    _create(url)
    postgresql = url.startswith("postgresql")
    with (
        (_postgres if postgresql else _sqlite)(url) as execute,
        _without_indexes(execute, postgresql),
    ):
        execute(
            "CREATE TABLE rows_of_size (n INTEGER PRIMARY KEY, payload "
            + ("BYTEA" if postgresql else "BLOB")
            + ")"
        )
        for number in range(_DISTINCT):
            mark = "%s, %s" if postgresql else "?, ?"
            text = pack(orjson.dumps(row(number)))
            execute(f"INSERT INTO rows_of_size VALUES ({mark})", (number, text))
        for first in range(0, size, _AT_ONCE):
            for statement in _statements(
                first, min(first + _AT_ONCE, size), size, postgresql=postgresql
            ):
                execute(statement)
        for statement in _beside(size):
            execute(statement)
        execute("DROP TABLE rows_of_size")
        if postgresql:
            for table in ("units", "targets", "attempts", "decisions", "runs"):
                execute(
                    f"SELECT setval('{table}_id_seq', coalesce((SELECT max(id) FROM {table}), 1))"
                )
    _rest(url)


def _create(url: str) -> None:
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    config = Config()
    config.set_main_option("script_location", "migration_assets:manifest/migrations")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, BEFORE)
    engine.dispose()


_Execute = Callable[..., list[tuple[Any, ...]]]


@contextmanager
def _sqlite(url: str) -> Iterator[_Execute]:
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-400000"):
        connection.execute(f"PRAGMA {pragma}")
    yield lambda *asked: connection.execute(*asked).fetchall()
    connection.close()


@contextmanager
def _postgres(url: str) -> Iterator[_Execute]:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        connection.execute("SET maintenance_work_mem = '512MB'")

        def execute(*asked: Any) -> list[tuple[Any, ...]]:
            done = connection.execute(*asked)
            return done.fetchall() if done.description else []

        yield execute


@contextmanager
def _without_indexes(execute: _Execute, postgresql: bool) -> Iterator[None]:
    if postgresql:
        asked = "SELECT indexname, indexdef FROM pg_indexes WHERE indexname LIKE 'ix_%'"
    else:
        asked = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND name LIKE 'ix_%'"
    found = execute(asked)
    for name, _made in found:
        execute(f"DROP INDEX {name}")
    yield
    for _name, made in found:
        execute(made)


def _rest(url: str) -> None:
    """As a database is that nobody hurries: statistics where it keeps them by itself."""
    if url.startswith("postgresql"):
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM (ANALYZE)")


def _streams() -> str:
    """Which stream, type and version number ``i`` is of, as CASE expressions."""
    made = [
        each for each in discover().values() for _ in range(_WEIGHTS.get(each.resource_type, 1))
    ]

    def case(name: str) -> str:
        arms = " ".join(f"WHEN {n} THEN '{getattr(each, name)}'" for n, each in enumerate(made))
        return f"CASE i % {len(made)} {arms} END"

    return f"{case('stream')} AS stream, {case('resource_type')} AS kind"


def _numbers(first: int, after: int, size: int, *, postgresql: bool) -> str:
    """Rows ``u``: everything about the units from ``first`` on that the tables need."""
    if postgresql:
        counted = f"SELECT i FROM generate_series({first}, {after - 1}) AS g(i)"
    else:
        counted = (
            f"WITH RECURSIVE g(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM g"
            f" WHERE i < {after - 1}) SELECT i FROM g"
        )
    big = "CAST(i AS BIGINT)"
    return (
        f"(SELECT i, i + 1 AS id, {_streams()}, 'K' || CAST(1000000000 + i AS TEXT) AS key,"
        f" {big} * 7919 % 1000 AS lot, {big} * 104729 % 12 AS why,"
        f" 1 + {big} * {RUNS} / {size} AS run,"
        f" {_FIRST} + {big} * {YEARS * 365} / {size} * {_DAY} + {big} * 61 % 86400 * 1000000 AS at"
        f" FROM ({counted}) c)"
    )


_STATE = (
    "CASE WHEN lot < 900 THEN 'migrated' WHEN lot < 950 THEN 'unchanged' WHEN lot < 960 THEN"
    " 'skipped' WHEN lot < 965 THEN 'rejected' WHEN lot < 985 THEN 'quarantined' ELSE 'pending' END"
)


def _statements(first: int, after: int, size: int, *, postgresql: bool) -> Iterator[str]:
    u = _numbers(first, after, size, postgresql=postgresql)
    digest = "decode(md5(CAST(i AS TEXT)), 'hex')" if postgresql else "randomblob(16)"
    yield (
        "INSERT INTO units (id, stream, key, state, revision, row_hash, payload, changed_at,"
        " deleted, reason, field, mapping_version, landed_at, seen_run, settled_at, settled_run)"
        f" SELECT id, stream, key, {_STATE}, 1, {digest}, r.payload, at, false,"
        " CASE WHEN lot >= 950 AND lot < 985 THEN 'reason-' || CAST(why AS TEXT) END,"
        " CASE WHEN lot >= 950 AND lot < 985 AND why > 5 THEN 'field_' || CAST(why % 5 AS TEXT)"
        " END,"
        " CASE WHEN lot < 985 THEN CASE WHEN i % 10 < 6 THEN '1.0.0' WHEN i % 10 < 9 THEN '1.1.0'"
        " ELSE '2.0.0' END END,"
        " at + 1000000, run, CASE WHEN lot < 985 THEN at + 2000000 END,"
        f" CASE WHEN lot < 985 THEN run END FROM {u} u JOIN rows_of_size r ON r.n = i % {_DISTINCT}"
        " ORDER BY id"
    )
    fhir_id = "'00000000-0000-4000-8000-' || CAST(100000000000 + i AS TEXT)"
    version = "'00000000-0000-4000-9000-' || CAST(100000000000 + i AS TEXT)"
    token = "{} || '|https://clinic.example.org/id/' || stream || '|' || key"
    owned = (
        "INSERT INTO targets (unit_id, resource_type, token, fhir_id, version_id, fingerprint,"
        " deleted, confirmed_at)"
    )
    for kind, which in (("kind", ""), ("'ClinicalImpression'", " AND kind = 'Encounter'")):
        yield (
            f"{owned} SELECT id, {kind}, {token.format(kind)}, {fhir_id}, {version},"
            " '0123456789abcdef0123456789abcdef', false, at + 2000000"
            f" FROM {u} u WHERE lot < 950{which} ORDER BY id"
        )
    yield (
        "INSERT INTO attempts (unit_id, run_id, at, token, method, bundle, entry, status, event,"
        f" outcome, fhir_id, version_id) SELECT id, run, at + 2000000, {token.format('kind')},"
        f" 'PUT', {version}, i % 50, CASE WHEN lot < 950 THEN '201' ELSE '422' END,"
        " CASE WHEN lot < 900 THEN 'created' WHEN lot < 950 THEN 'unchanged' ELSE 'failed' END,"
        f" CASE WHEN lot >= 950 THEN 'invalid' END, CASE WHEN lot < 950 THEN {fhir_id} END,"
        f" CASE WHEN lot < 950 THEN {version} END FROM {u} u WHERE lot < 950 OR (lot >= 960 AND"
        " lot < 965) ORDER BY id"
    )
    yield (
        "INSERT INTO decisions (unit_id, revision, state, reason, field, decided_at, decided_by,"
        " owner, note, choice, overwrites)"
        f" SELECT id, 1, {_STATE}, 'reason-' || CAST(why AS TEXT), CASE WHEN why > 5 THEN 'field_'"
        " || CAST(why % 5 AS TEXT) END, at + 3000000, 'someone', 'team-' || CAST(why % 3 AS TEXT),"
        " 'looked at', CASE WHEN i % 2 = 0 THEN 'accept' ELSE 'fix' END, false"
        f" FROM {u} u WHERE lot >= 960 AND lot < 985 AND i % 20 = 3 ORDER BY id"
    )


def _beside(size: int) -> Iterator[str]:
    for number in range(1, RUNS + 1):
        yield (
            "INSERT INTO runs (id, label, pipeline_version, started_at, finished_at) VALUES"
            f" ({number}, 'run-{number}', '0.1.0', {_FIRST + number}, {_FIRST + number})"
        )
    for each in discover().values():
        yield (
            "INSERT INTO marks (stream, watermark, moved_at, run_id) VALUES"
            f" ('{each.stream}', {_FIRST + YEARS * 365 * _DAY}, {_FIRST}, {RUNS})"
        )
        for month in range(12 * YEARS):
            yield (
                "INSERT INTO windows (stream, partition, pulled_at, rows, run_id) VALUES"
                f" ('{each.stream}', '{2017 + month // 12}-{month % 12 + 1:02d}-01', {_FIRST},"
                f" {size // 1000}, {RUNS})"
            )
