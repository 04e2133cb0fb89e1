"""json-server: a REST API over one JSON file, which stamps nothing: its client says when."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import requests

from migration_assets_tests.third_party.people import Seed, utc_now
from migration_assets_tests.third_party.running import node_script, serving

STREAMS = ("patients", "encounters")


class JsonServer:
    """The running server."""

    streams = STREAMS

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = requests.Session()
        self._session.trust_env = False

    @property
    def environ(self) -> Mapping[str, str]:
        """What the description names."""
        return {"LEGACY_URL": self._url}

    def insert(self, stream: str, key: int, text: str) -> None:
        """Add a row changed now."""
        self._ask("POST", stream, _row(key, text, utc_now()))

    def update(self, stream: str, key: int, text: str) -> None:
        """Change a row now."""
        self._ask("PUT", f"{stream}/{key}", _row(key, text, utc_now()))

    def delete(self, stream: str, key: int) -> None:
        """Delete a row; nothing of it stays."""
        self._ask("DELETE", f"{stream}/{key}")

    def rows(self, stream: str) -> dict[str, Any]:
        """All rows in one answer."""
        return {str(row["id"]): row for row in self._ask("GET", stream)}

    def _ask(self, method: str, path: str, row: Any = None) -> Any:
        answer = self._session.request(method, self._url + path, json=row, timeout=60)
        answer.raise_for_status()
        return answer.json()


def _row(key: int, text: str, changed: datetime) -> dict[str, Any]:
    moment = changed.replace(tzinfo=None).isoformat(timespec="milliseconds")
    return {"id": key, "text": text, "updated_at": moment + "Z"}


@contextmanager
def start(folder: Path, seeds: Sequence[Seed]) -> Iterator[JsonServer]:
    """A json-server with these rows in each of its streams, until the context ends."""
    file = folder / "db.json"
    rows = [_row(each.key, each.text, each.changed) for each in seeds]
    file.write_text(json.dumps(dict.fromkeys(STREAMS, rows)))

    def command(port: int) -> list[str]:
        listening = ("--host", "127.0.0.1", "--port", str(port))
        return node_script("json-server/lib/cli/bin.js", "--quiet", *listening, str(file))

    with serving(command, answers="patients?_limit=1", cwd=folder) as running:
        yield JsonServer(running.url)
