"""A whole life with writers on both sides, faults and crashes: no edit of either side is lost."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, ClassVar

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from migration_assets.adoption import Phase
from migration_assets.demo.clinic_server import Clinic, start_clinic
from migration_assets.demo.clinic_store import ClinicStore
from migration_assets.demo.faults import Fault, Wrong
from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets.switching.cutover.plan import Came, CutoverStep
from migration_assets_tests.demo.founding import ADMIN_KEY, API_KEY
from migration_assets_tests.whole_life.mortality import Mortality
from migration_assets_tests.whole_life.world import KEYS, World

EXAMPLES = int(os.environ.get("MIGRATION_MACHINE_EXAMPLES", "2"))
pytestmark = pytest.mark.timeout(300 + 60 * EXAMPLES)

FAULTS = (
    Fault(Wrong.THROTTLED, at=(2,), wait_seconds=0.05),
    Fault(Wrong.TOO_MANY_REQUESTS, at=(5,), wait_seconds=0.05),
    Fault(Wrong.CONFLICT, at=(1,)),
    Fault(Wrong.DROP, at=(9,)),
    Fault(Wrong.STATUS_504, at=(3,), on="bundles", after_work=True),
    Fault(Wrong.STATUS_502, at=(12,)),
    Fault(Wrong.FEWER_ENTRIES, at=(6,)),
)


@pytest.fixture(scope="module")
def legacy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    """The legacy system of every life in this module."""
    path = tmp_path_factory.mktemp("clinic") / "clinic.db"
    ClinicStore(path).close()
    with start_clinic(path, api_key=API_KEY, admin_key=ADMIN_KEY) as clinic:
        yield clinic


@pytest.fixture
def world(
    legacy: Clinic, running: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> World:
    return World(legacy, running, tmp_path, monkeypatch)


def test_from_rehearsal_to_retirement_with_everything_going_wrong_on_the_way(
    world: World,
) -> None:
    """Cut over under faults and kills, back with what was written, over again, retired."""
    world.sandbox.misbehave(*FAULTS, seed=1)
    world.follow()
    assert world.phones() == {}, "a rehearsal writes nothing"
    world.to(Phase.BACKFILL)
    world.write("P1")
    world.follow(Mortality(nth=25))
    world.follow()
    world.to(Phase.READ)
    world.write("P2")
    _cut_over_with_kills(world)
    assert world.phase(world.patients) is Phase.WRITE
    world.write("P1")
    world.write_legacy("P3")
    world.write_medplum("P3")
    alarm = world.go_on(steps=1)
    assert alarm is not None
    assert alarm.came is Came.ALARM, "an edit in the legacy system after the flip"
    world.clinic.fail_writes("fail-after", "drop")
    for nth in (12, 24, 0):
        world.go_back(Mortality(nth=nth))
    for _try in range(5):
        if world.phase(world.patients) is Phase.READ:
            break
        world.go_back()
    assert world.phase(world.patients) is Phase.READ
    assert world.phones()["P1"] == world.legacy_phones()["P1"] == world.written["P1"][-1]
    world.write("P2")
    world.follow()
    for _try in range(8):
        if world.phase(world.patients) is Phase.WRITE:
            break
        world.go_on(steps=1 if _try else 4)
    world.write_legacy("P2")
    for _try in range(3):
        seen = world.go_on(steps=2)
    assert seen is not None
    assert (seen.came, seen.evidence["met"]) == (Came.ALARM, ["legacy-edits"])
    world.retire()
    assert world.phones()["P2"] == world.written["P2"][-1], "nobody may, and yet it is not lost"
    world.check()
    assert world.killed >= 8, "it was killed on the way"
    assert world.sandbox.stats()["faults"], "and things went wrong"
    (report,) = (world.folder / "report" / "Patient").glob("*.json")
    told = json.loads(report.read_text())
    assert told["types"][0]["numbers"]["eligible"] == len(KEYS)


def _cut_over_with_kills(world: World) -> None:
    for turn in range(80):
        if world.phase(world.patients) is Phase.WRITE and _flipped(world):
            return
        world.go_on(steps=1, mortality=Mortality(nth=3 + turn * 5 % 43, after=turn % 2 == 1))
        if turn % 3 == 2:
            world.go_on(steps=1)
    raise AssertionError("it was never flipped")


def _flipped(world: World) -> bool:
    with world.connections.manifest() as manifest:
        (current,) = manifest.cutovers.under_way("Patient")
        looks = manifest.cutovers.looks(current.id)
    return any(each.step == CutoverStep.FLIP and each.outcome == Came.DONE for each in looks)


class Life(RuleBasedStateMachine):
    """People write on both sides, processes advance, die and go back, in any order."""

    legacy: ClassVar[Clinic]
    sandbox: ClassVar[Sandbox]
    monkeypatch: ClassVar[Any]

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(mkdtemp())
        self.world = World(self.legacy, self.sandbox, self.folder, self.monkeypatch)
        self.world.phases("backfill")
        self.world.follow()
        self.world.phases("read")
        self.world.go_on(steps=1)
        self.world.go_on(steps=5)
        assert self.world.phase(self.world.patients) is Phase.WRITE

    def teardown(self) -> None:
        """The quiet end, and the law."""
        try:
            self.world.retire()
            self.world.check()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    @rule(
        writes=st.lists(st.tuples(st.sampled_from(KEYS), st.booleans()), max_size=2),
        what=st.sampled_from(("on", "on", "on", "back", "sensor")),
        nth=st.integers(0, 60),
        after=st.booleans(),
    )
    def a_day(self, writes: list[tuple[str, bool]], what: str, nth: int, after: bool) -> None:
        """People write, where the flags say or where they may not; a process, which may die."""
        if self.world.phase(self.world.patients) is Phase.RETIRED:
            return
        for key, strays in writes:
            (self.world.write_legacy if strays else self.world.write)(key)
        mortality = Mortality(nth=nth, after=after)
        if what == "on":
            self.world.go_on(mortality=mortality)
        elif what == "back" and self.world.phase(self.world.patients) is Phase.WRITE:
            self.world.go_back(mortality)
        else:
            self.world.follow(mortality)


def test_in_whatever_order_people_write_and_processes_die_no_edit_is_lost(
    legacy: Clinic, running: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    Life.legacy, Life.sandbox, Life.monkeypatch = legacy, running, monkeypatch
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=8,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=False,
        ),
    )
