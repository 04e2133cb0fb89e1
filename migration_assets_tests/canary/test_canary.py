"""No text of a patient is where nobody asked for it (design.md §8).

Everything is done once (``story``), then each place where something may have been written is
searched, and last a leak is planted in each: a search that finds nothing proves nothing until it
has found something. Left out, as showing rows is what they are for: `migration preview` and
`--show-values`.
"""

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import dagster as dg
import pytest
from dagster._core.scheduler.instigation import InstigatorType, TickData, TickStatus

from migration_assets.manifest import Manifest
from migration_assets_tests.canary.asking import QUERIES
from migration_assets_tests.canary.listening import leaks_in_files, leaks_of
from migration_assets_tests.canary.people import NAME, NOTE, PHONE, STREET
from migration_assets_tests.canary.story import REASONS, STORY
from migration_assets_tests.canary.world import World, opened
from migration_assets_tests.manifest.rows import row

# Everything is lived in one set-up, which a busy machine stretches.
pytestmark = pytest.mark.timeout(300)


def _in_logs(world: World) -> list[str]:
    return leaks_of("log", world.heard.log.getvalue().encode(errors="replace"))


def _in_streams(world: World) -> list[str]:
    return leaks_of("stream", world.heard.streams)


def _in_what_was_told(world: World) -> list[str]:
    texts = [(where, text) for where, said in world.told.items() for text in said]
    return [leak for where, text in texts for leak in leaks_of(where, text.encode())]


def _in_dagsters_files(world: World) -> list[str]:
    return leaks_in_files(world.folder / "dagster")


def _in_graphql(world: World) -> list[str]:
    answers = {about: world.ask(query) for about, query in QUERIES.items()}
    return [
        leak for about, said in answers.items() for leak in leaks_of(about, repr(said).encode())
    ]


def _in_reports(world: World) -> list[str]:
    return leaks_in_files(world.folder / "reports")


def _in_the_account(world: World) -> list[str]:
    return leaks_in_files(world.folder, "*.db*")


PLACES: dict[str, Callable[[World], list[str]]] = {
    "log records": _in_logs,
    "standard streams": _in_streams,
    "commands and events": _in_what_was_told,
    "Dagster's files": _in_dagsters_files,
    "GraphQL answers": _in_graphql,
    "reports": _in_reports,
    "the account": _in_the_account,
}


@dataclass
class Lived:
    """A world in which all was done, and what was found before any leak was planted."""

    world: World
    found: dict[str, list[str]]
    reasons: set[str]


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lived]:
    folder = tmp_path_factory.mktemp("canary") / "world"
    reasons: set[str] = set()
    with pytest.MonkeyPatch.context() as monkeypatch, opened(folder, monkeypatch) as world:
        with world.listening():
            for part in STORY:
                part(world)
                with world.connections.manifest() as manifest:
                    reasons |= {each.reason for each in manifest.exceptions()}
        yield Lived(world, {place: search(world) for place, search in PLACES.items()}, reasons)


@pytest.mark.parametrize("place", PLACES)
def test_a_canary_is_nowhere_but_where_it_was_asked_for(lived: Lived, place: str) -> None:
    """One leak is a patient's name in somebody's log archive for ten years."""
    assert lived.found[place] == []


def test_everything_was_done_that_could_have_leaked(lived: Lived) -> None:
    """Where nothing was quarantined, refused, failed or written, nothing could leak."""
    world = lived.world
    assert lived.reasons >= REASONS
    assert any(NAME.encode() in each.body for each in world.script.at("/fhir/R4"))
    assert {True, False} == set(world.ended)
    assert {"urllib3.connectionpool", "dagster", "sqlalchemy.engine.Engine"} <= world.heard.loggers
    ticks = repr(world.ask(QUERIES["ticks"]))
    assert "FAILURE" in ticks
    assert {each.suffix for each in (world.folder / "reports").iterdir()} >= {".html", ".json"}
    assert list((world.folder / "dagster").rglob("*.err"))


def _logged(_world: World) -> None:
    logging.getLogger("some.library").debug("row %s", NAME)


def _printed(_world: World) -> None:
    os.write(2, PHONE.encode())


def _told(world: World) -> None:
    world.tell("migration status", STREET)


def _observed(world: World) -> None:
    seen = dg.AssetObservation(dg.AssetKey(["medplum", "Patient"]), metadata={"row": NOTE})
    world.instance.report_runless_asset_event(seen)


def _ticked(world: World) -> None:
    world.instance.create_tick(
        TickData(
            "o", "s", InstigatorType.SENSOR, TickStatus.SKIPPED, 1.0, skip_reason=f"for {NAME}"
        )
    )


def _reported(world: World) -> None:
    (world.folder / "reports" / "more.html").write_text(f"<td>{STREET}</td>")


def _landed_unsealed(world: World) -> None:
    manifest = Manifest(f"sqlite:///{world.folder / 'unsealed.db'}", clock=world.connections.clock)
    manifest.land("patients", [row("P1", name=NAME)], run_id=1, reopen=False)
    manifest.close()


LEAKS: dict[str, tuple[str, Callable[[World], None]]] = {
    "a log line": ("log records", _logged),
    "standard error": ("standard streams", _printed),
    "a command's answer": ("commands and events", _told),
    "metadata of an event": ("GraphQL answers", _observed),
    "a tick": ("Dagster's files", _ticked),
    "a report": ("reports", _reported),
    "an account without a key": ("the account", _landed_unsealed),
}


@pytest.mark.parametrize("leak", LEAKS)
def test_a_leak_of_each_kind_would_be_found(lived: Lived, leak: str) -> None:
    place, plant = LEAKS[leak]
    with lived.world.listening():
        plant(lived.world)
    assert len(PLACES[place](lived.world)) > len(lived.found[place])
