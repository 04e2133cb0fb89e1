"""Datasette: reads a SQLite file that somebody else writes. It has no API to write with."""

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from migration_assets_tests.third_party.people import Seed, utc_now
from migration_assets_tests.third_party.running import python_module, serving

STREAMS = ("patients", "visits")
_NEW_YORK = ZoneInfo("America/New_York")
_COMMIT_SECONDS = 0.01  # between a row's time and its being seen, as in any transaction
_TABLES = """
PRAGMA journal_mode = WAL;
CREATE TABLE patients (id INTEGER PRIMARY KEY, text TEXT, updated_at TEXT);
CREATE TABLE all_visits (id INTEGER PRIMARY KEY, text TEXT, changed TEXT, changed_day TEXT);
CREATE VIEW visits AS SELECT id, text, changed, changed_day FROM all_visits;
"""
_PUT = {
    "patients": "REPLACE INTO patients VALUES (?, ?, ?)",
    "visits": "REPLACE INTO all_visits VALUES (?, ?, ?, ?)",
}
_DELETE = {
    "patients": "DELETE FROM patients WHERE id = ?",
    "visits": "DELETE FROM all_visits WHERE id = ?",
}
_ALL = {"patients": "SELECT * FROM patients", "visits": "SELECT * FROM all_visits"}


class Datasette:
    """The running server, and the file below it."""

    streams = STREAMS

    def __init__(self, url: str, file: Path) -> None:
        self._url = url
        self._file = file

    @property
    def environ(self) -> Mapping[str, str]:
        """What the description names."""
        return {"LEGACY_URL": self._url}

    def insert(self, stream: str, key: int, text: str) -> None:
        """Add a row, or put another in its place."""
        with closing(_opened(self._file)) as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(_PUT[stream], _row(stream, key, text, utc_now()))
            time.sleep(_COMMIT_SECONDS)

    update = insert

    def delete(self, stream: str, key: int) -> None:
        """Delete a row; nothing of it stays."""
        with closing(_opened(self._file)) as connection, connection:
            connection.execute(_DELETE[stream], (key,))

    def rows(self, stream: str) -> dict[str, Any]:
        """All rows, from the file."""
        with closing(_opened(self._file)) as connection:
            connection.row_factory = sqlite3.Row
            found = connection.execute(_ALL[stream]).fetchall()
        return {str(row["id"]): dict(row) for row in found}


def _opened(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(file, timeout=60)


def _row(stream: str, key: int, text: str, changed: datetime) -> tuple[Any, ...]:
    if stream == "patients":
        moment = changed.replace(tzinfo=None).isoformat(timespec="milliseconds")
        return key, text, moment + "Z"
    local = changed.astimezone(_NEW_YORK)
    return key, text, local.strftime("%m/%d/%Y %I:%M:%S.%f %p"), local.date().isoformat()


@contextmanager
def start(folder: Path, seeds: Sequence[Seed]) -> Iterator[Datasette]:
    """A Datasette over these rows in each of its streams, until the context ends."""
    file = folder / "clinic.db"
    with closing(_opened(file)) as connection:
        connection.executescript(_TABLES)
        for stream in STREAMS:
            rows = [_row(stream, each.key, each.text, each.changed) for each in seeds]
            connection.executemany(_PUT[stream], rows)
        connection.commit()

    def command(port: int) -> list[str]:
        return python_module("datasette", "serve", str(file), "--port", str(port))

    with serving(command, answers="clinic.json", cwd=folder) as running:
        yield Datasette(running.url, file)
