"""Several processes load through one Medplum client, against a server that counts for real."""

import datetime as dt
import json
import math
import multiprocessing as mp
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from migration_assets.manifest import Manifest
from migration_assets.medplum import Deliverer, MedplumClient, Pacer, Verdict
from migration_assets_tests.medplum.submissions import patient, single

PROCESSES, EACH = 3, 30


class MeteredServer:
    """Takes batches of creates, and grants each window so many points (contract §8).

    A window is shorter than Medplum's minute, but not below four seconds: the header tells whole
    ones, and a window's end must not be taken for the next one's.
    """

    def __init__(
        self, *, points: int = 4_000, window: float = 4.0, per_entry: float = 0.002
    ) -> None:
        self.points, self.window, self.per_entry = points, window, per_entry
        self.created: list[str] = []
        self.refused = 0
        self.served: list[int] = []  # points, of each window
        self.began: list[float] = []
        self._spent = 0
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._http.metered = self  # type: ignore[attr-defined]
        self._http.daemon_threads = True
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.01}
        )
        self.base_url = f"http://127.0.0.1:{self._http.server_port}/"
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def spend(self, points: int) -> bool:
        """Charge, and say whether the window had so much left."""
        with self._lock:
            if not self.began or time.monotonic() >= self.began[-1] + self.window:
                self.began.append(time.monotonic())
                self.served.append(0)
                self._spent = 0
            self._spent += points
            fits = self._spent <= self.points
            self.served[-1] += points * fits
            return fits

    def header(self) -> str:
        """What is left, in whole seconds."""
        with self._lock:
            seconds = self.began[-1] + self.window - time.monotonic()
            left = max(0, self.points - self._spent)
            return f'"requests";r=59985;t=60, "fhirInteractions";r={left};t={math.ceil(seconds)}'

    def entry(self, asked: Any) -> Any:
        """Carry one entry out, if there are points for it."""
        time.sleep(self.per_entry)
        if not self.spend(100):
            with self._lock:
                self.refused += 1
            return {"response": {"status": "429", "outcome": {"id": "too-many-requests"}}}
        key = asked["resource"]["identifier"][0]["value"]
        with self._lock:
            self.created.append(key)
        stored = {"resourceType": "Patient", "id": key, "meta": {"versionId": "1"}}
        return {"response": {"status": "201", "location": f"Patient/{key}"}, "resource": stored}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """A token, a search that finds nothing, or a batch."""
        metered: MeteredServer = self.server.metered  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if "token" in self.path:
            self._say({"access_token": "t", "expires_in": 3600})
        elif "_search" in self.path:
            fits = metered.spend(20)
            self._say({"entry": []}, status=200 if fits else 429, limit=metered.header())
        else:
            entries = [metered.entry(each) for each in json.loads(body)["entry"]]
            self._say({"entry": entries}, limit=metered.header())

    def _say(self, content: Any, *, status: int = 200, limit: str | None = None) -> None:
        sent = json.dumps(content).encode()
        self.send_response(status)
        if limit:
            self.send_header("RateLimit", limit)
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def metered() -> Iterator[MeteredServer]:
    server = MeteredServer()
    yield server
    server.close()


def load(url: str, base_url: str, name: str, entries: int, together: Barrier) -> None:
    """One process: delivers patients of its own until all of them are taken."""
    manifest = Manifest(url, clock=lambda: dt.datetime.now(dt.UTC))
    pacer = Pacer(clock=time.time, ledgers=manifest, name="ours")
    client = MedplumClient(base_url, "client", SecretStr("invented"), pacer=pacer)
    deliverer = Deliverer(client, exclusive=True, deadline_seconds=100)
    submissions = single(*(patient(f"{name}-{each}") for each in range(entries)))
    together.wait(60)
    written = [
        each.verdict for finished in deliverer.deliver(submissions) for each in finished
    ].count(Verdict.WRITTEN)
    manifest.close()
    assert written == entries


def loaded(url: str, metered: MeteredServer, processes: int, entries: int) -> None:
    """Have processes load side by side, and wait for all of them."""
    Manifest(url, clock=lambda: dt.datetime.now(dt.UTC)).close()
    spawn = mp.get_context("spawn")
    together = spawn.Barrier(processes)
    running = [
        spawn.Process(target=load, args=(url, metered.base_url, f"P{each}", entries, together))
        for each in range(processes)
    ]
    for one in running:
        one.start()
    for one in running:
        one.join()
        assert one.exitcode == 0


def test_processes_of_one_client_lose_nothing_and_earn_no_429(
    tmp_path: Path, metered: MeteredServer
) -> None:
    loaded(f"sqlite:///{tmp_path / 'manifest.db'}", metered, PROCESSES, EACH)
    wanted = {f"P{one}-{each}" for one in range(PROCESSES) for each in range(EACH)}
    assert sorted(metered.created) == sorted(wanted)
    assert metered.refused == 0
