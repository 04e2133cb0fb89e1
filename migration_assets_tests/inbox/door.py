"""An inbox on a real socket, and a service that sends to it.

Belongs here: what several modules share. Does not belong here: claims.
"""

import http.client
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import uvicorn

from migration_assets.adoption import read_adoption
from migration_assets.inbox.app import Desk, inbox_app
from migration_assets.inbox.reading import Reading
from migration_assets.inbox.tokens import read_tokens
from migration_assets.legacy import Source
from migration_assets.manifest import Manifest
from migration_assets.manifest.inbox import RUN
from migration_assets.mapping import Mapping as MappingOf
from migration_assets_tests.scripted import ORGANIZATIONS, PATIENTS

TOKEN = "all-streams-0123456789"
LIMITED = "only-organizations-0123"
TOKENS = f"scheduling={TOKEN} billing[organizations,fhir/Organization]={LIMITED}"
SOURCE = Source.model_validate(
    {
        "name": "small",
        "base_url": "https://legacy.example/",
        "defaults": {
            "path": "{stream}",
            "select": "rows",
            "id": "id",
            "pager": {"type": "none"},
            "cursor": {"field": "updated_at", "format": "iso", "param": "since"},
            "tombstone": {"path": "deleted"},
        },
        "streams": [{"name": "organizations", "cursor": None}],
    }
)


@dataclass(frozen=True)
class Told:
    """What a service was answered."""

    status: int
    body: dict[str, Any]
    headers: Mapping[str, str]


@dataclass
class Door:
    """An inbox that listens."""

    port: int
    manifest: Manifest

    def send(
        self,
        path: str,
        content: Any,
        *,
        key: str | None = "e-1",
        token: str | None = TOKEN,
        **headers: str,
    ) -> Told:
        """Send an event; header names are written with underscores, an empty one is left out."""
        given = {
            "Content-Type": "application/json",
            **({"Idempotency-Key": key} if key is not None else {}),
            **({"Authorization": f"Bearer {token}"} if token is not None else {}),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return self.ask("POST", path, body, given)

    def ask(self, method: str, path: str, body: bytes | None = None, headers: Any = None) -> Told:
        """Make any request."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as wire:
            wire.request(method, path, body, headers or {})
            answer = wire.getresponse()
            text = answer.read()
        return Told(answer.status, json.loads(text or b"{}"), dict(answer.getheaders()))


@contextmanager
def door(
    manifest: Manifest,
    *,
    clock: Any,
    adoption: str = 'Organization = "backfill"\nPatient = "backfill"',
    mappings: tuple[MappingOf[Any], ...] = (ORGANIZATIONS, PATIENTS),
    source: Source = SOURCE,
    **desk: Any,
) -> Iterator[Door]:
    """Open the inbox over an account."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(64)
    made = Desk(
        manifest=manifest,
        reading=Reading(source, mappings, clock=clock),
        tokens=read_tokens(TOKENS),
        adoption=lambda: read_adoption(adoption),
        run_id=manifest.start_run(RUN, pipeline_version="0"),
        **desk,
    )
    server = uvicorn.Server(
        uvicorn.Config(inbox_app(made), lifespan="off", log_level="error", access_log=False)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield Door(listener.getsockname()[1], manifest)
    finally:
        server.should_exit = True
        thread.join(timeout=30)
        listener.close()


def patient(key: str, at: datetime, **row: Any) -> dict[str, Any]:
    """A row of patients as the legacy API has it."""
    return {"id": key, "updated_at": at.isoformat(), **row}


def fhir_patient(key: str, at: datetime | None, **elements: Any) -> dict[str, Any]:
    """The resource that a service sends of such a row."""
    return {
        "resourceType": "Patient",
        "identifier": [{"system": "http://your-source-system.com/patientId", "value": key}],
        **({"meta": {"lastUpdated": at.isoformat()}} if at is not None else {}),
        **elements,
    }
