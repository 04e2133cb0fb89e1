"""A scratch identifier system: everything a benchmark writes carries it, and is removed by it.

Belongs here: making the system, and removing whatever carries it, when the measurements end, fail
or are interrupted. Does not belong here: what is written. Nothing else is ever touched: a resource
is deleted only if its own body carries an identifier of the scratch. A process that is killed
leaves a note, and the next run on the same server removes what it left.
"""

import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any
from unittest.mock import patch

import orjson

from migration_assets.errors import Permanent, Transient
from migration_assets.fhir.identifiers import identifier_system
from migration_assets.medplum import MedplumClient
from migration_assets.medplum.bundles import bundle_json
from migration_assets.medplum.outcomes import Fate, entry_outcome
from migration_assets_tests.bench.server import Server

TYPES = ("Observation", "Encounter", "Patient", "Practitioner")
"""The types that benchmarks write."""

_AT_ONCE = 100  # deletions in a bundle
_SETTLE_SECONDS = 2.0  # a server that lost its client finished 100 entries within that
_STILL = 2  # looks in a row that must find nothing
_TRIES = 100
_ROOT = "https://migration-bench.example"


@contextmanager
def scratch(server: Server, notes: Path) -> Iterator[str]:
    """The root of a new scratch system, in force while the block runs and removed after it."""
    for root in _noted(notes, server):
        _removed(server, root, notes)
    root = f"{_ROOT}/{uuid.uuid4()}"
    _note(notes, server, root)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with using(root):
            yield root
    finally:
        _removed(server, root, notes)
        signal.signal(signal.SIGTERM, before)


@contextmanager
def using(root: str) -> Iterator[None]:
    """Identifiers are made under ``root`` instead of the installation's own."""
    with (
        patch("migration_assets.fhir.identifiers.SOURCE_URI", root),
        patch("migration_assets.fhir.elements.SOURCE_URI", root),
    ):
        yield


def count(server: Server, root: str) -> dict[str, int]:
    """How many resources of each type carry the scratch; types without any are left out."""
    session = server.session()
    found: dict[str, int] = {}
    for kind in TYPES:
        with using(root):
            asked = {"identifier": f"{identifier_system(kind)}|", "_summary": "count"}
        answer = session.get(f"{server.fhir}/{kind}", params=asked, timeout=60)
        answer.raise_for_status()
        found[kind] = int(answer.json()["total"])
    return {kind: number for kind, number in found.items() if number}


def remove(server: Server, root: str) -> None:
    """Delete whatever carries the scratch, and look until there is nothing and nothing comes.

    Raises:
        Permanent: a search for the scratch found something else, or it cannot be removed.
    """
    client = server.client()
    still = 0
    for _ in range(_TRIES):
        try:
            found = [(kind, each) for kind in TYPES for each in _carrying(client, kind, root)]
            still = 0 if found else still + 1
            if still == _STILL:
                return
            for start in range(0, len(found), _AT_ONCE):
                _delete(client, server, found[start : start + _AT_ONCE])
        except Transient as error:
            still = 0
            server.sleep(error.retry_after or _SETTLE_SECONDS)
        # What was sent before an interruption may still be carried out (contract §3).
        server.sleep(_SETTLE_SECONDS)
    raise Permanent(
        f"The resources with identifier systems below {root} could not be removed: run the "
        "benchmarks on this server again, which begins by removing them."
    )


def _removed(server: Server, root: str, notes: Path) -> None:
    remove(server, root)
    _forget(notes, server, root)


def _carrying(client: MedplumClient, kind: str, root: str) -> list[str]:
    """Ids of the resources of a type that carry the scratch's system."""
    with using(root):
        system = identifier_system(kind)
    found = client.search(kind, {"identifier": f"{system}|"})
    if not all(_carries(each, system) for each in found):
        raise Permanent(
            f"A search for {kind} by the scratch's identifier system found others too: nothing was "
            "removed. Does this server know searching by system alone?"
        )
    return [str(each["id"]) for each in found]


def _carries(resource: dict[str, Any], system: str) -> bool:
    return any(each.get("system") == system for each in resource.get("identifier") or ())


def _delete(client: MedplumClient, server: Server, found: list[tuple[str, str]]) -> None:
    entries = [
        orjson.dumps({"request": {"method": "DELETE", "url": f"{kind}/{fhir_id}"}})
        for kind, fhir_id in found
    ]
    answers = [entry_outcome(e) for e in client.post_bundle(bundle_json(entries), len(entries))]
    waits = [each.wait or 0.0 for each in answers if each.fate is Fate.WAIT]
    if waits:
        server.sleep(max(waits))
    refused = [each for each in answers if each.fate is Fate.REFUSED]
    if refused:
        raise Permanent(
            f"Deleting {len(refused)} scratch resources was refused ({refused[0].status}): does "
            "the client's AccessPolicy permit it?"
        )


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _line(server: Server, root: str) -> str:
    return f"{server.base_url} {root}"


def _lines(notes: Path) -> list[str]:
    return notes.read_text(encoding="utf-8").splitlines() if notes.exists() else []


def _noted(notes: Path, server: Server) -> list[str]:
    """Scratches that earlier runs on this server left behind."""
    pairs = (each.split(" ", 1) for each in _lines(notes))
    return [root for base_url, root in pairs if base_url == server.base_url]


def _note(notes: Path, server: Server, root: str) -> None:
    notes.parent.mkdir(parents=True, exist_ok=True)
    with notes.open("a", encoding="utf-8") as file:
        file.write(_line(server, root) + "\n")


def _forget(notes: Path, server: Server, root: str) -> None:
    kept = [each for each in _lines(notes) if each != _line(server, root)]
    notes.write_text("".join(f"{each}\n" for each in kept), encoding="utf-8")
