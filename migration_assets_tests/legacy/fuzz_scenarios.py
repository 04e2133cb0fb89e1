"""Valid descriptions: what the fuzzer starts from.

Belongs here: descriptions of every kind of paging, cursor, credential and stream, and the examples
that ship. Does not belong here: what answers them (``fuzz_source``), spoiling (``fuzz_mutations``),
or what must hold (the tests).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

import migration_assets.legacy
from migration_assets.legacy.description import Source, load_description
from migration_assets_tests.legacy.conftest import QUERY, SECRET

BASE = "http://127.0.0.1:9/api"
FOLDER = Path(migration_assets.legacy.__file__).parent / "examples"
_SECRET_NAME = re.compile("TOKEN|KEY|SECRET|ID|USER|PASSWORD|CLIENT|TENANT")


@dataclass(frozen=True)
class Scenario:
    """A description and the stream of it that is pulled."""

    name: str
    described: dict[str, Any] = field(repr=False)
    stream: str

    @cached_property
    def source(self) -> Source:
        """The description, loaded."""
        return load_description(yaml.safe_dump(self.described))


def _described(name: str, *, auth: Any = None, http: Any = None, **stream: Any) -> Scenario:
    described = {
        "name": "fuzzed",
        "base_url": {"env": "BASE_URL"},
        "auth": auth or {"type": "bearer", "token": {"env": "TOKEN"}},
        "headers": {"X-Tenant": {"env": "TENANT"}},
        "http": {"attempts": 3, "max_bytes": 100_000, "reset_header": "X-Reset", **(http or {})},
        "streams": [
            {
                "name": "patients",
                "path": "rows",
                "select": "data",
                "id": "id",
                "params": {"filter": QUERY},
                "max_pages": 20,
                "sweep": "cursor" in stream,
                **stream,
            }
        ],
    }
    return Scenario(name, described, "patients")


_OAUTH = {
    "type": "oauth2_client_credentials",
    "token_url": {"env": "TOKEN_URL"},
    "client_id": {"env": "CLIENT"},
    "client_secret": {"env": "TOKEN"},
}
_US = {"field": "at", "format": "%m/%d/%Y %H:%M:%S", "tz": "America/New_York", "param": "since"}
_QUEUE = {
    "type": "consume",
    "peek": {"keep": "true"},
    "take": {"keep": "false"},
    "reread": {"param": "marked_since", "until_param": "marked_until"},
}
_TOLD = {"type": "acknowledge", "path": "told", "event": "event", "ids": "events"}
_GRAPHQL = {
    "method": "POST",
    "select": "data.patients",
    "body": {"query": "{ patients }", "variables": {"after": None, "size": 3}},
    "pager": {"type": "cursor", "path": "data.after", "param": "variables.after"},
}

OWN = [
    _described("single page"),
    _described("numbered pages", pager={"type": "page", "size_param": "n", "size": 3}),
    _described(
        "numbered pages with a total",
        pager={"type": "page", "total": "meta.total", "order": "fixed"},
        cursor={"field": "at", "format": "epoch_ms", "param": "since", "until_param": "until"},
        sweep=True,
        auth={"type": "query", "param": "key", "value": {"env": "TOKEN"}},
    ),
    _described(
        "offset with overlap",
        pager={"type": "offset", "size": 3, "overlap": 1, "total": "total"},
        cursor={"field": "meta.at", "param": "since"},
        require="total",
        error_if="errors",
    ),
    _described("next address", pager={"type": "next_url"}, auth=_OAUTH),
    _described(
        "next address in a header",
        pager={"type": "next_url_header", "header": "Next-Page"},
        cursor={"field": "at", "format": "epoch_s", "param": "since", "inclusive": False},
        sweep=True,
    ),
    _described("link header", pager={"type": "link_header"}, id=["id", "site"]),
    _described("token", pager={"type": "cursor", "path": "token", "param": "after"}),
    _described(
        "token in a header",
        pager={"type": "cursor_header", "header": "Next-Token", "param": "after"},
        http={"on_status": [{"status": [404, 500], "action": "skip"}]},
    ),
    _described(
        "keyset", pager={"type": "keyset", "field": "id", "param": "after", "size": 3}, select="$"
    ),
    _described(
        "walk",
        pager={"type": "walk", "within_tie": {"type": "page", "size_param": "n", "size": 3}},
        cursor={"field": "at", "param": "since", "on_null": "keep"},
        tombstone={"path": "gone"},
        archived={"path": "old"},
        merged_into="into",
        volatile=["seen"],
    ),
    _described(
        "cursor that is cut into windows",
        cursor={
            "field": "at",
            "param": "since",
            "until_param": "until",
            "cap": 50,
            "earliest": "2024-01-01T00:00:00Z",
            "max_window_seconds": 86400 * 60,
        },
    ),
    _described("zone-less times", cursor={**_US, "lookback_seconds": 3600}, auth=_OAUTH),
    _described(
        "details and feeds",
        detail="rows/{id}",
        pager={"type": "next_url"},
        feeds=[{"path": "deleted", "means": "deleted"}],
        auth={"type": "header", "name": "X-Key", "value": {"env": "TOKEN"}},
    ),
    _described("parents", parent={"ids_file": "nowhere", "param": "patient"}),
    _described(
        "consuming queue", queue=_QUEUE, pager={"type": "offset", "size": 3, "total": "total"}
    ),
    _described("acknowledged queue", queue=_TOLD, pager={"type": "next_url"}),
    _described("posted body", **_GRAPHQL),
    _described(
        "limits and statuses",
        http={
            "on_status": [
                {"status": [403], "action": "retry"},
                {"status": [418], "action": "reauth"},
            ]
        },
        auth={"type": "basic", "user": {"env": "CLIENT"}, "password": {"env": "TOKEN"}},
    ),
]
EXAMPLES = [
    Scenario(file.stem, yaml.safe_load(file.read_text(encoding="utf-8")), stream)
    for file in sorted(FOLDER.glob("*.yaml"))
    for stream in [one["name"] for one in yaml.safe_load(file.read_text())["streams"]][:2]
]
SCENARIOS = [*OWN, *EXAMPLES]


def environ_for(source: Source, base: str = BASE) -> dict[str, str]:
    """Every variable a source names: addresses lead to ``base``, everything else is secret."""
    names = set(_names(source.model_dump()))
    values = dict.fromkeys(names, "invented")
    values |= {name: SECRET for name in names if _SECRET_NAME.search(name)}
    values |= {name: base for name in names if name.endswith("URL")}
    return values | {name: f"{base}/token" for name in names if name.endswith("TOKEN_URL")}


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if set(value) == {"env"} and isinstance(value["env"], str):
            yield value["env"]
        for one in value.values():
            yield from _names(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _names(one)
