"""A page too large to be landed at once: the pieces keep what the whole page kept."""

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import pytest

from migration_assets.adoption import read_adoption
from migration_assets.errors import Transient
from migration_assets.legacy import PulledPage
from migration_assets.manifest import Manifest, State
from migration_assets.pipeline import land
from migration_assets.run import SETTLE_LAG, Run, Way, Window
from migration_assets.steps import landing
from migration_assets_tests.scripted import NOW, PATIENTS, START, ScriptedSource

SINCE_START = Window(START, None, way=Way.INCREMENTAL)


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> ScriptedSource:
    """Seven rows in one page, landed two at a time."""
    monkeypatch.setattr(landing, "LANDED_AT_ONCE", 2)
    return ScriptedSource(page_size=1_000)


@pytest.fixture
def run(manifest: Manifest, source: ScriptedSource) -> Run:
    """A run on an account whose mark stands at the start."""
    made = Run(
        id=manifest.start_run("test", pipeline_version="0"),
        label="test",
        manifest=manifest,
        puller=source,
        adoption=read_adoption(""),
        fhir=None,
        deadline_seconds=30,
    )
    source.now = START + SETTLE_LAG
    land(made, PATIENTS, SINCE_START)
    source.now = NOW
    for n in range(7):
        source.put("patients", f"P{n}", at=n)
    return made


def test_every_row_of_a_large_page_is_on_account_and_then_the_mark_moves(
    run: Run, manifest: Manifest
) -> None:
    landed = land(run, PATIENTS, SINCE_START)
    assert (landed.rows, landed.new) == (7, 7)
    assert manifest.balances()["patients"].by_state[State.PENDING] == 7
    assert manifest.high_water_mark("patients") == START + timedelta(seconds=6)


def test_a_cut_between_two_pieces_leaves_the_mark_where_it_was(
    run: Run, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows after the cut would never be asked for again."""
    monkeypatch.setattr(manifest, "land", _third_time_fails(manifest.land))
    with pytest.raises(Transient):
        land(run, PATIENTS, SINCE_START)
    assert manifest.high_water_mark("patients") == START
    assert manifest.balances()["patients"].eligible == 4


def _third_time_fails(land_rows: Callable[..., Any]) -> Callable[..., Any]:
    times = iter(range(1, 4))

    def landing(stream: str, rows: Iterable[Any], **options: Any) -> Any:
        if next(times) == 3:
            raise Transient("the database went away")
        return land_rows(stream, rows, **options)

    return landing


def test_two_rows_with_one_id_in_different_pieces_are_still_a_collision(
    run: Run, manifest: Manifest, source: ScriptedSource
) -> None:
    twin = source.rows["patients"][0]
    source.put("patients", "P0", at=0, family="Roe")
    source.rows["patients"].append(twin)
    source.rows["patients"][:0] = [source.rows["patients"].pop(-2)]
    source.pages = _as_listed(source)  # type: ignore[method-assign]
    land(run, PATIENTS, SINCE_START)
    assert manifest.balances()["patients"].by_state[State.QUARANTINED] == 2


def _as_listed(source: ScriptedSource) -> Callable[..., Any]:
    """Serve the rows in the order they are listed: a collision's halves come far apart."""

    def pages(*_: Any, **_named: Any) -> Any:
        yield PulledPage(tuple(source.rows["patients"]), source.now)

    return pages
