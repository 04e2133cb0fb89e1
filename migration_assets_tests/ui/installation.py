"""An installation to look at: the demo clinic, and `dagster dev` as the README starts it.

Belongs here: starting and stopping it, and asking its GraphQL what became of something. Does not
belong here: the browser.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from migration_assets.demo import migration as demo_migration
from migration_assets.demo.home import Home, write_env_file
from migration_assets.demo.services import Services, services
from migration_assets.starter import free_ports
from migration_assets_tests.cli.command import environment

T = TypeVar("T")
_BIN = Path(sys.executable).parent
_DEADLINE = 400.0  # s; the machine may be doing other things too
_STOPS = 150.0
_MONTHS = timedelta(days=200)  # more than the 90 days that the dialog opens on


@dataclass(frozen=True)
class Installation:
    """A folder with a .env, its demo clinic and sandbox, and the UI at ``url``."""

    folder: Path
    home: Home
    running: Services
    url: str

    def ask(self, query: str) -> Any:
        """What GraphQL answers."""
        body = json.dumps({"query": query}).encode()
        request = urllib.request.Request(  # noqa: S310 - loopback
            f"{self.url}/graphql", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return json.load(answer)["data"]

    def partitions(self) -> list[str]:
        """The keys of the partitions, oldest first."""
        query = '{assetNodeOrError(assetKey: {path: ["medplum", "Patient"]}){... on AssetNode'
        found: list[str] = self.ask(query + "{partitionKeys}}}")["assetNodeOrError"][
            "partitionKeys"
        ]
        return found

    def backfills(self) -> list[dict[str, Any]]:
        """The backfills there are, newest first."""
        query = "{partitionBackfillsOrError{... on PartitionBackfills{results{id status}}}}"
        found: list[dict[str, Any]] = self.ask(query)["partitionBackfillsOrError"]["results"]
        return found

    def materialized(self, name: str) -> list[str]:
        """The partitions of a type that are there."""
        query = (
            f'{{assetNodeOrError(assetKey: {{path: ["medplum", "{name}"]}}){{... on AssetNode'
            "{assetPartitionStatuses{... on TimePartitionStatuses{ranges{startKey endKey status}}}}"
            "}}"
        )
        ranges = self.ask(query)["assetNodeOrError"]["assetPartitionStatuses"]["ranges"]
        there = [each for each in ranges if each["status"] == "MATERIALIZED"]
        return [
            key
            for key in self.partitions()
            if any(each["startKey"] <= key <= each["endKey"] for each in there)
        ]

    def runs(self) -> list[dict[str, Any]]:
        """The runs there are, newest first."""
        query = "{runsOrError{... on Runs{results{id status jobName}}}}"
        found: list[dict[str, Any]] = self.ask(query)["runsOrError"]["results"]
        return found

    def migration(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A verb in the installation's folder."""
        return subprocess.run(
            [_BIN / "migration", *words],
            cwd=self.folder,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


def until(what: str, seen: Callable[[], T | None]) -> T:
    """What ``seen`` returns, as soon as it is something; fails after a while."""
    deadline = time.monotonic() + _DEADLINE
    while time.monotonic() < deadline:
        found = seen()
        if found:
            return found
        time.sleep(0.5)
    raise AssertionError(f"Waited {_DEADLINE:.0f} s for {what}.")


@contextmanager
def installation(folder: Path) -> Iterator[Installation]:
    """A clinic of 12 patients of which nothing was migrated yet, and `dagster dev` on it."""
    home = Home(folder / ".demo")
    demo_migration.found_clinic(home, patients=12, seed=1, now=datetime.now(UTC))
    with services(home) as running:
        settings = home.environment(running.clinic.base_url, running.sandbox.base_url)
        settings["MIGRATION_START"] = f"{datetime.now(UTC) - _MONTHS:%Y-%m}-01"
        write_env_file(folder / ".env", settings)
        (port,) = free_ports(1)
        with _dagster_dev(folder, port):
            yield Installation(folder, home, running, f"http://127.0.0.1:{port}")


@contextmanager
def _dagster_dev(folder: Path, port: int) -> Iterator[None]:
    with (folder / "dagster-dev.log").open("w", encoding="utf-8") as log, _interruptible():
        process = subprocess.Popen(
            [_BIN / "dagster", "dev", "-m", "migration_assets.definitions", "-p", str(port)],
            cwd=folder,
            env=environment(),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        until("the webserver", lambda: _listens(port, process))
        yield
    finally:
        process.send_signal(signal.SIGINT)  # it stops its webserver, daemon and code server itself
        try:
            process.wait(timeout=_STOPS)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Of a suite started with & a child ignores SIGINT, as the suite does: it never stops."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _listens(port: int, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "dagster dev ended; see dagster-dev.log"
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
