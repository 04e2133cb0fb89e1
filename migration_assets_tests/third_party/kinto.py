"""Kinto: a JSON store with a change feed, served as its own command serves it, data in memory."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests

from migration_assets_tests.third_party.people import Seed
from migration_assets_tests.third_party.running import python_module, serving

STREAMS = ("patients", "encounters")
_CREDENTIAL = ("clinic", "invented")
_BATCH = 25  # what Kinto takes at once
_SETTINGS = """
[app:main]
use = egg:kinto
storage_backend = kinto.core.storage.memory
permission_backend = kinto.core.permission.memory
cache_backend = kinto.core.cache.memory
userid_hmac_secret = invented
multiauth.policies = basicauth
multiauth.policy.basicauth.use = kinto.core.authentication.BasicAuthAuthenticationPolicy
bucket_create_principals = system.Authenticated

[server:main]
use = egg:waitress#main
host = 127.0.0.1
port = %(http_port)s
"""


class Kinto:
    """The running server."""

    streams = STREAMS

    def __init__(self, url: str) -> None:
        self._url = url + "v1/"
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.auth = _CREDENTIAL

    @property
    def environ(self) -> Mapping[str, str]:
        """What the description names."""
        user, password = _CREDENTIAL
        return {"LEGACY_URL": self._url, "LEGACY_USER": user, "LEGACY_PASSWORD": password}

    def insert(self, stream: str, key: int, text: str) -> None:
        """Add a row; Kinto gives it its change time."""
        self._ask("PUT", f"{_records(stream)}/{_id(key)}", {"text": text})

    update = insert

    def delete(self, stream: str, key: int) -> None:
        """Delete a row; a tombstone stays."""
        self._ask("DELETE", f"{_records(stream)}/{_id(key)}")

    def rows(self, stream: str) -> dict[str, Any]:
        """All rows in one answer."""
        answer = self._session.get(self._url + _records(stream), timeout=60)
        answer.raise_for_status()
        assert "Next-Page" not in answer.headers
        return {row["id"]: row for row in answer.json()["data"]}

    def load(self, seeds: Sequence[Seed]) -> None:
        """Fill both streams with rows of the past."""
        self._ask("PUT", "buckets/clinic")
        for stream in STREAMS:
            self._ask("PUT", f"buckets/clinic/collections/{stream}")
            asked = [_creation(stream, each, moment) for each, moment in _apart(seeds)]
            for start in range(0, len(asked), _BATCH):
                answer = self._ask("POST", "batch", {"requests": asked[start : start + _BATCH]})
                assert all(each["status"] == 201 for each in answer["responses"]), answer

    def _ask(self, method: str, path: str, data: Any = None) -> Any:
        body = data if path == "batch" else {"data": data or {}}
        sent = None if method == "DELETE" else body
        answer = self._session.request(method, self._url + path, json=sent, timeout=60)
        answer.raise_for_status()
        return answer.json()


def _apart(seeds: Sequence[Seed]) -> Iterator[tuple[Seed, int]]:
    """Rows and their milliseconds; Kinto gives no two rows of a collection the same."""
    last = 0
    for each in sorted(seeds, key=lambda one: one.changed):
        moment = (each.changed - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
        last = max(moment, last + 1)
        yield each, last


def _creation(stream: str, seed: Seed, changed: int) -> dict[str, Any]:
    return {
        "method": "PUT",
        "path": f"/v1/{_records(stream)}/{_id(seed.key)}",
        "body": {"data": {"text": seed.text, "last_modified": changed}},
    }


def _records(stream: str) -> str:
    return f"buckets/clinic/collections/{stream}/records"


def _id(key: int) -> str:
    return f"row-{key}"


@contextmanager
def start(folder: Path, seeds: Sequence[Seed]) -> Iterator[Kinto]:
    """A Kinto with these rows in each of its streams, until the context ends."""
    settings = folder / "kinto.ini"
    settings.write_text(_SETTINGS)

    def command(port: int) -> list[str]:
        # `kinto start` is pserve; as a module Kinto's own command does nothing.
        return python_module("pyramid.scripts.pserve", str(settings), f"http_port={port}")

    with serving(command, answers="v1/", cwd=folder) as running:
        server = Kinto(running.url)
        server.load(seeds)
        yield server
