"""Peak memory over one page of 64 MiB, as a multiple of the body; and what it is made of.

The page is served by the parent; each stage runs in a process of its own, from the URL alone:
what the interpreter and our imports take, the body alone, body and parsed objects, and the whole
of landing it. The size does not scale: it is the point.

    python -m migration_assets_tests.bench.big_page STAGE URL
"""

import sys
import tempfile
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from pathlib import Path

import orjson
import requests
import yaml

from migration_assets.adoption import read_adoption
from migration_assets.legacy import Puller, load_description
from migration_assets.manifest import Manifest
from migration_assets.mappings import discover
from migration_assets.pipeline import land
from migration_assets.run import Run, Window
from migration_assets_tests.bench.figures import Figure
from migration_assets_tests.bench.own_process import measured_apart, peak_mb, tell
from migration_assets_tests.legacy.legacy_server import LegacyServer, Reply

BODY_BYTES = 64 << 20


def figures(_scale: float) -> Generator[Figure, None, None]:
    """Peak over the interpreter's own, in bodies, and the same of its first two stages."""
    body = page(BODY_BYTES)
    with LegacyServer() as server:
        server.routes["/patients"] = lambda _: Reply(body, headers={"Content-Type": "text/json"})
        peaks = {
            stage: float(measured_apart("big_page", stage, server.url)["peak_mb"])
            for stage in STAGES
        }
    own = peaks.pop("nothing")
    bodies = {stage: (peak - own) / (len(body) / (1 << 20)) for stage, peak in peaks.items()}
    yield Figure(
        "memory_of_64_mib_page",
        bodies["land"],
        "times the body",
        beside=(
            f"{peaks['land']:,.0f} MB in all; body alone {bodies['body']:.1f}, body and parsed "
            f"objects {bodies['parsed']:.1f} (floor); landing adds canonical text, its compressed "
            "form and SQL parameters, of a thousand rows at a time"
        ),
    )
    yield Figure("memory_of_64_mib_page_floor", bodies["parsed"], "times the body")


def page(size: int) -> bytes:
    """A page of invented patients, at least ``size`` bytes long."""
    row = b'{"patient_id":"P%07d","last_name":"Doe","first_name":"Jo","birth_date":"1980-07-15",'
    row += b'"gender":"F","city":"Springfield","phone":"+1 555 0120","note":"%s",'
    row += b'"updated_at":"2024-05-01T08:00:00.000Z"}'
    note = b"Reports shortness of breath; plan reviewed. " * 3
    rows = size // len(row % (0, note)) + 1
    return b'{"rows":[%s]}' % b",".join(row % (number, note) for number in range(rows))


def _nothing(_url: str) -> object:
    return None


def _body(url: str) -> object:
    return requests.get(f"{url}/patients", timeout=60).content


def _parsed(url: str) -> object:
    body = requests.get(f"{url}/patients", timeout=60).content
    return body, orjson.loads(body)


def _land(url: str) -> object:
    described = {
        "name": "big",
        "base_url": url,
        "auth": {"type": "none"},
        "http": {"max_bytes": 2 * BODY_BYTES},  # the default is 64 MiB
        "streams": [
            {
                "name": "patients",
                "path": "patients",
                "select": "rows",
                "id": "patient_id",
                "pager": {"type": "none"},
                "cursor": {"field": "updated_at", "param": "since", "lookback_seconds": 60},
            }
        ],
    }
    with tempfile.TemporaryDirectory() as folder:
        manifest = Manifest(
            f"sqlite:///{Path(folder) / 'manifest.db'}", clock=lambda: datetime.now(UTC)
        )
        run = Run(
            id=manifest.start_run("bench", pipeline_version="bench"),
            label="bench",
            manifest=manifest,
            puller=Puller(load_description(yaml.safe_dump(described)), environ={}),
            adoption=read_adoption(""),
            fhir=None,
            deadline_seconds=3600,
        )
        landed = land(run, discover()["Patient"], Window(None, None))
        manifest.close()
    return landed.new


STAGES: dict[str, Callable[[str], object]] = {
    "nothing": _nothing,
    "body": _body,
    "parsed": _parsed,
    "land": _land,
}

if __name__ == "__main__":
    _kept_until_measured = STAGES[sys.argv[1]](sys.argv[2])
    tell({"peak_mb": peak_mb()})
