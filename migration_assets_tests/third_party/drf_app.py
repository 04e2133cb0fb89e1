"""A Django REST framework app with django-filter (``inside/drf_clinic``), served by waitress."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import requests

from migration_assets_tests.third_party.people import Seed
from migration_assets_tests.third_party.running import python_module, serving

STREAMS = ("patients", "consultations", "encounters")
_TOKEN = "Bearer invented"


class DrfApp:
    """The running app."""

    streams = STREAMS

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["Authorization"] = _TOKEN

    @property
    def environ(self) -> Mapping[str, str]:
        """What the description names."""
        return {"LEGACY_URL": self._url, "LEGACY_TOKEN": _TOKEN}

    def insert(self, stream: str, key: int, text: str) -> None:
        """Add a row; the app gives it its change time."""
        self._ask("POST", f"{stream}/", {"id": key, "text": text})

    def update(self, stream: str, key: int, text: str) -> None:
        """Change a row."""
        self._ask("PATCH", f"{stream}/{key}/", {"text": text})

    def delete(self, stream: str, key: int) -> None:
        """Delete a row: hidden without a new change time, or gone (encounters)."""
        self._ask("DELETE", f"{stream}/{key}/")

    def rows(self, stream: str) -> dict[str, Any]:
        """All rows in one answer."""
        return {str(row["id"]): row for row in self._ask("GET", f"{stream}/?all").json()}

    def _ask(self, method: str, path: str, row: Any = None) -> requests.Response:
        answer = self._session.request(method, self._url + path, json=row, timeout=60)
        answer.raise_for_status()
        return answer


def _load(file: Path, seeds: Sequence[Seed]) -> None:
    """Rows of the past, below the app: it would stamp them with the present."""
    with closing(sqlite3.connect(file, timeout=60)) as connection:
        for stream in STREAMS:
            connection.executemany(
                f"INSERT INTO {stream} (id, text, modified_date, deleted) VALUES (?, ?, ?, 0)",  # noqa: S608 - the names stand above
                [(each.key, each.text, f"{each.changed:%Y-%m-%d %H:%M:%S.%f}") for each in seeds],
            )
        connection.commit()


@contextmanager
def start(folder: Path, seeds: Sequence[Seed]) -> Iterator[DrfApp]:
    """The app with these rows in each of its streams, until the context ends."""
    file = folder / "clinic.db"

    def command(port: int) -> list[str]:
        return python_module("waitress", f"--listen=127.0.0.1:{port}", "drf_clinic:application")

    environ = {"CLINIC_FILE": str(file), "CLINIC_TOKEN": _TOKEN}
    with serving(command, answers="patients/?limit=1", cwd=folder, environ=environ) as running:
        _load(file, seeds)
        yield DrfApp(running.url)
