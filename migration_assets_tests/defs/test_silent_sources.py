"""The sensor's tick against a source over real sockets that accepts, and never comes to an end.

Dagster ends a tick after 60 s and forgets what it learnt: the next one would begin the same again.
The times are a twentieth of the real ones here; that those fit into a tick is a claim of its own.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from migration_assets.connections import Connections
from migration_assets.defs import following, looking_on, probing
from migration_assets.settings import Settings
from migration_assets_tests.blank_accounts import blank_file
from migration_assets_tests.conftest import Clock
from migration_assets_tests.defs.test_following import STREAMS, Ticks, seed
from migration_assets_tests.legacy.legacy_server import Asked, LegacyServer, Reply, json_reply
from migration_assets_tests.legacy.raw_server import Serve, drips, raw_server
from migration_assets_tests.scripted import NOW

PART = 20
BYTES = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n["
WAYS = pytest.mark.parametrize(
    "serve", [drips(), drips(first=BYTES, piece=b" ")], ids=["says nothing", "byte by byte"]
)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ALL_SECONDS", "ANSWER_SECONDS"):
        monkeypatch.setattr(probing, name, getattr(probing, name) / PART)


def connections(folder: Path, address: str, clock: Clock) -> Connections:
    clock.now = NOW
    described = folder / "source.yaml"
    described.write_text(
        f"{{name: x, base_url: 'http://{address}/', defaults: {{path: '{{stream}}', select: rows,"
        " id: id, cursor: {field: at, param: since, precision_seconds: 0.001}}}"
    )
    settings = {
        "MIGRATION_MANIFEST_URL": blank_file(folder / "manifest.db"),
        "MIGRATION_SOURCE": described,
        "MIGRATION_START": "2026-01-01",
        "MIGRATION_LEGACY_API_KEY": "invented",
    }
    made = Connections(Settings.model_validate(settings), clock=clock, environ=dict)
    seed(made, *STREAMS)
    return made


def nobody(asked: Sequence[Any], *_: Any) -> Iterator[Any]:
    """Ask nobody: who rests is left alone."""
    assert asked == []
    yield from ()


@WAYS
def test_a_source_that_never_answers_ends_no_tick_by_force_and_starts_no_run(
    serve: Serve,
    tmp_path: Path,
    clock: Clock,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The tick says who did not answer and why; then the streams rest, longer and longer."""
    with raw_server(serve) as address:
        ticks = Ticks(connections(tmp_path, address, clock), instance)
        began = time.monotonic()
        said = ticks.next()
        took = time.monotonic() - began
        assert took < 10, "two answers of 0.3 s, and what it takes to load the definitions"
        assert not said.run_requests
        told = str(said.skip_reason)
        for kind in ("Organization", "Patient"):
            assert f"{kind} did not answer: pulling" in told
        assert "the answer was not complete before the deadline" in told
        monkeypatch.setattr(following, "probe", nobody)
        for _ in range(3):
            again = ticks.next()
            assert not again.run_requests
            assert "Resting after a failure: Organization, Patient" in str(again.skip_reason)


def test_streams_that_there_was_no_time_for_come_first_in_the_next_tick(
    tmp_path: Path, clock: Clock, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "ALL_SECONDS", probing.ANSWER_SECONDS / 2)
    with raw_server(drips()) as address:
        ticks = Ticks(connections(tmp_path, address, clock), instance)
        first = str(ticks.next().skip_reason)
        assert "Organization did not answer" in first
        assert "Patient did not" not in first
        second = str(ticks.next().skip_reason)
        assert "Patient did not answer" in second


def test_a_page_whose_rows_want_a_request_each_is_news_in_time(
    tmp_path: Path, clock: Clock, instance: dg.DagsterInstance
) -> None:
    """After an outage of a week: five hundred details are more than a tick's minute, every time."""
    rows = [{"id": f"P{number}", "at": "2026-11-20T00:00:00Z"} for number in range(200)]
    details: list[str] = []
    with LegacyServer() as server:

        def one(asked: Asked) -> Reply:
            details.append(asked.path)
            time.sleep(0.1)  # as long as a source takes: together they are more than there is time
            return json_reply({**rows[0], "id": asked.path.rpartition("/")[2], "name": "x"})

        server.routes["/organizations"] = server.routes["/patients"] = lambda _asked: json_reply(
            {"rows": rows}
        )
        server.routes |= {f"/{name}/{row['id']}": one for name in STREAMS for row in rows}
        made = connections(tmp_path, server.url.rpartition("//")[2].rstrip("/"), clock)
        described = tmp_path / "source.yaml"
        text = described.read_text().replace(
            "select: rows", "detail: '{stream}/{id}', select: rows"
        )
        described.write_text(text)
        said = Ticks(made, instance).next()
    assert len(said.run_requests or []) == 1
    assert 0 < len(details) < len(rows)


def test_the_real_times_fit_into_a_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look begun at the last moment, all its time used up, and one answer that takes as long."""
    monkeypatch.undo()
    last = looking_on.SECONDS + probing.ALL_SECONDS + probing.ANSWER_SECONDS
    assert last < 60
