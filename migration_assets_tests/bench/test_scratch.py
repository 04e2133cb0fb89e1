"""Measuring on a real server leaves it as it was, however the measuring ends.

The sandbox stands in for the real server: reached through its address and its credential alone.
"""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from migration_assets.demo.faults import Fault, Wrong
from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets.errors import Permanent
from migration_assets.medplum import MedplumClient
from migration_assets_tests.bench.delivery import Delivery, patients
from migration_assets_tests.bench.on_servers import measured, real_plan
from migration_assets_tests.bench.points import figures as points_figures
from migration_assets_tests.bench.scratch import count, scratch
from migration_assets_tests.bench.server import Server, sandbox_server

pytestmark = pytest.mark.sandbox

SOMEBODYS = {"Patient": 2, "Practitioner": 1}


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    with sandbox_server() as server:
        yield server


@pytest.fixture
def sandbox(running: Server) -> Sandbox:
    """Somebody else's records are in it already."""
    assert running.sandbox is not None
    running.sandbox.behave()
    running.sandbox.reset()
    session = running.session()
    for kind, identifier in (
        ("Patient", [{"system": "http://somebody.example/patientId", "value": "oP1"}]),
        ("Patient", []),
        ("Practitioner", [{"value": "tD1"}]),
    ):
        body = {"resourceType": kind, "identifier": identifier, "name": [{"family": "Roe"}]}
        answer = session.post(f"{running.fhir}/{kind}", data=orjson.dumps(body), timeout=60)
        assert answer.status_code == 201
    return running.sandbox


@pytest.fixture
def server(running: Server, sandbox: Sandbox) -> Server:
    """As a real one is reached: without its control door."""
    return replace(running, sandbox=None)


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "build" / "scratch"


def write_some(server: Server, folder: Path, number: int = 30) -> None:
    delivery = Delivery(server, folder)
    delivery.land("Patient", patients(number, "x"))
    delivery.migrate("Patient")
    delivery.close()


def test_everything_a_measurement_wrote_is_gone_after_it_and_nothing_else(
    server: Server, sandbox: Sandbox, notes: Path
) -> None:
    found = list(
        measured(server, real_plan(0.1), lambda each, _root, _plan: points_figures(each, 10), notes)
    )
    assert {each.name for each in found} >= {"points_per_new_no_references", "points_per_changed"}
    assert sandbox.stats()["deletes"] > 40
    assert sandbox.stats()["resources"] == SOMEBODYS
    assert notes.read_text() == ""


def test_a_failure_in_the_middle_leaves_nothing_behind(
    server: Server, sandbox: Sandbox, notes: Path, tmp_path: Path
) -> None:
    with pytest.raises(ZeroDivisionError), scratch(server, notes) as root:  # noqa: PT012 - what was written counts
        write_some(server, tmp_path)
        assert count(server, root) == {"Patient": 30}
        raise ZeroDivisionError
    assert sandbox.stats()["resources"] == SOMEBODYS


def test_a_measurement_that_is_closed_half_way_leaves_nothing_behind(
    server: Server, sandbox: Sandbox, notes: Path
) -> None:
    """Ctrl-C may come while a figure is being printed."""
    figures = measured(
        server, real_plan(0.1), lambda each, _root, _plan: points_figures(each, 10), notes
    )
    next(figures)
    assert sandbox.stats()["resources"] != SOMEBODYS
    figures.close()
    assert sandbox.stats()["resources"] == SOMEBODYS


def test_a_termination_leaves_nothing_behind(
    server: Server, sandbox: Sandbox, notes: Path, tmp_path: Path
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), scratch(server, notes):  # noqa: PT012 - as above
        write_some(server, tmp_path)
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
    assert sandbox.stats()["resources"] == SOMEBODYS
    assert signal.getsignal(signal.SIGTERM) == before


def test_what_a_killed_run_left_is_removed_by_the_next_on_the_same_server(
    server: Server, sandbox: Sandbox, notes: Path, tmp_path: Path
) -> None:
    elsewhere = "https://elsewhere.example/ https://x.example/1\n"
    with scratch(server, notes) as left:
        write_some(server, tmp_path)
        notes.write_text(notes.read_text() + elsewhere)
        with scratch(server, notes):
            assert count(server, left) == {}
            assert elsewhere in notes.read_text()
    assert sandbox.stats()["resources"] == SOMEBODYS
    assert notes.read_text() == elsewhere


def test_removing_gets_through_throttling_conflicts_and_lost_answers(
    server: Server, sandbox: Sandbox, notes: Path, tmp_path: Path
) -> None:
    with scratch(server, notes):
        write_some(server, tmp_path, number=250)
        sandbox.misbehave(
            Fault(Wrong.CONFLICT, at=(1, 3)),
            Fault(Wrong.THROTTLED, at=(5,)),
            Fault(Wrong.RESET, at=(1,), on="bundles"),
            Fault(Wrong.DROP, at=(3,), on="bundles"),
        )
    assert sandbox.stats()["faults"] == {"conflict": 2, "throttled": 1, "reset": 1, "drop": 1}
    assert sandbox.stats()["resources"] == SOMEBODYS


def test_a_server_that_finds_other_records_by_the_scratch_loses_none_of_them(
    server: Server, sandbox: Sandbox, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that ignores a parameter it does not know would answer with everybody."""

    def everybody(client: MedplumClient, kind: str, _params: Any) -> list[dict[str, Any]]:
        return search(client, kind, {})

    search = MedplumClient.search
    monkeypatch.setattr(MedplumClient, "search", everybody)
    with pytest.raises(Permanent, match="nothing was removed"), scratch(server, notes):
        pass
    assert sandbox.stats()["resources"] == SOMEBODYS
