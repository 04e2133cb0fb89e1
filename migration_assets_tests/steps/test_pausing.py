"""A poison row stops nothing; a stream of which too much fails stands still, its state kept."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from migration_assets.adoption import read_adoption
from migration_assets.demo.medplum_sandbox import Sandbox
from migration_assets.errors import Permanent
from migration_assets.legacy import PulledRow
from migration_assets.manifest import Choice, Decision, Manifest, Selection, State
from migration_assets.medplum import MedplumClient
from migration_assets.pipeline import land, migrate
from migration_assets.run import Run, Window
from migration_assets.sweeping import sweep
from migration_assets.thresholds import Threshold
from migration_assets_tests.blank_accounts import blank_file
from migration_assets_tests.conftest import SECRET, Clock
from migration_assets_tests.scripted import NOW, ORGANIZATIONS, PATIENTS, START, ScriptedSource

ALL = Window(None, None)
STREAM = "organizations"


@pytest.fixture
def client(running: Sandbox) -> MedplumClient:
    running.reset()
    return MedplumClient(running.base_url, running.client_id, SecretStr(SECRET))


@pytest.fixture
def source() -> ScriptedSource:
    return ScriptedSource(page_size=10)


@pytest.fixture
def account(tmp_path: Path, clock: Clock) -> Iterator[Manifest]:
    clock.now = NOW
    manifest = Manifest(blank_file(tmp_path / "manifest.db"), clock=clock)
    yield manifest
    manifest.close()


NewRun = Callable[..., Run]


@pytest.fixture
def new_run(account: Manifest, source: ScriptedSource, client: MedplumClient) -> NewRun:
    def make(*, phase: str = "backfill") -> Run:
        number = account.start_run("test", pipeline_version="0")
        return Run(
            id=number,
            label=f"run-{number}",
            manifest=account,
            puller=source,
            adoption=read_adoption(f'Organization = "{phase}"\nPatient = "{phase}"'),
            fhir=client,
            deadline_seconds=30,
            threshold=Threshold(rate=0.5, count=5),
        )

    return make


def fill(source: ScriptedSource, *, bad: int, good: int) -> None:
    for n in range(bad):
        source.put(STREAM, f"B{n}", name="quarantine me")
    for n in range(good):
        source.put(STREAM, f"G{n}", at=1)


def states(account: Manifest) -> dict[State, int]:
    return {state: n for state, n in account.balances()[STREAM].by_state.items() if n}


@pytest.mark.parametrize(
    ("bad", "good"), [(4, 0), (5, 6), (9, 10)], ids=["too few", "just below the rate", "many good"]
)
def test_bad_rows_below_either_limit_stop_nothing(
    new_run: NewRun, source: ScriptedSource, account: Manifest, bad: int, good: int
) -> None:
    fill(source, bad=bad, good=good)
    land(new_run(), ORGANIZATIONS, ALL)
    migrate(new_run(), ORGANIZATIONS)
    migrate(new_run(), ORGANIZATIONS)
    expected = {State.QUARANTINED: bad, State.MIGRATED: good}
    assert states(account) == {state: n for state, n in expected.items() if n}


def test_too_many_bad_rows_pause_the_stream_and_keep_what_was_settled(
    new_run: NewRun, source: ScriptedSource, account: Manifest
) -> None:
    fill(source, bad=6, good=4)
    land(new_run(), ORGANIZATIONS, ALL)
    with pytest.raises(Permanent, match=r"6 of 10 rows.*unmapped-code at name: 6.*resume"):
        migrate(new_run(), ORGANIZATIONS)
    assert states(account) == {State.QUARANTINED: 6, State.MIGRATED: 4}
    (pause,) = account.pauses.standing().values()
    assert (pause.stream, pause.failed, pause.seen) == (STREAM, 6, 10)


def test_a_paused_stream_is_neither_pulled_nor_swept_nor_delivered_until_it_is_resumed(
    new_run: NewRun, source: ScriptedSource, account: Manifest
) -> None:
    fill(source, bad=6, good=0)
    land(new_run(), ORGANIZATIONS, ALL)
    with pytest.raises(Permanent):
        migrate(new_run(), ORGANIZATIONS)
    source.put(STREAM, "G1")
    source.put("patients", "P1")
    with pytest.raises(Permanent, match="paused since"):
        land(new_run(), ORGANIZATIONS, ALL)
    with pytest.raises(Permanent, match="paused since"):
        sweep(new_run(), ORGANIZATIONS)
    with pytest.raises(Permanent, match="paused since"):
        migrate(new_run(), ORGANIZATIONS)
    assert states(account) == {State.QUARANTINED: 6}
    land(new_run(), PATIENTS, ALL)  # others go on
    assert migrate(new_run(), PATIENTS).by_state[State.MIGRATED] == 1
    account.pauses.resume(STREAM, by="anna")
    source.rows[STREAM] = [each for each in source.rows[STREAM] if each.key == "G1"]
    land(new_run(), ORGANIZATIONS, ALL)
    migrate(new_run(), ORGANIZATIONS)
    assert states(account) == {State.QUARANTINED: 6, State.MIGRATED: 1}


def test_a_source_that_suddenly_sends_broken_rows_is_paused_and_its_mark_stays(
    new_run: NewRun, source: ScriptedSource, account: Manifest
) -> None:
    source.page_size = 5
    for n in range(20):
        source.rows[STREAM].append(PulledRow(None, {"n": n}, START, False, "id-missing"))
    with pytest.raises(Permanent, match=r"5 of 5 rows failed.*held at landing"):
        land(new_run(), ORGANIZATIONS, ALL)
    assert states(account) == {State.QUARANTINED: 5}


def test_windows_of_one_run_are_counted_together(
    new_run: NewRun, source: ScriptedSource, account: Manifest
) -> None:
    """Each month of a backfill has too few rows to be paused by itself."""
    run = new_run()
    for month in range(3):
        for n in range(2):
            source.put(STREAM, f"B{month}{n}", name="quarantine me", at=month)
        since = START + timedelta(seconds=month)
        land(run, ORGANIZATIONS, Window(since, since + timedelta(seconds=1)))
        if month < 2:
            migrate(run, ORGANIZATIONS)
    with pytest.raises(Permanent, match="paused"):
        migrate(run, ORGANIZATIONS)


def test_rows_that_wait_for_others_pause_nothing(
    new_run: NewRun, source: ScriptedSource, account: Manifest
) -> None:
    for n in range(9):
        source.put("patients", f"P{n}", organization="later")
    land(new_run(), PATIENTS, ALL)
    migrate(new_run(), PATIENTS)
    assert account.pauses.standing() == {}


def test_what_a_person_accepted_pauses_nothing_when_it_fails_again(
    new_run: NewRun, source: ScriptedSource, account: Manifest
) -> None:
    """Else every backfill of a stream with many bad rows would need somebody to resume it."""
    fill(source, bad=6, good=0)
    land(new_run(), ORGANIZATIONS, ALL)
    with pytest.raises(Permanent):
        migrate(new_run(), ORGANIZATIONS)
    accept = Decision(by="anna", choice=Choice.ACCEPT, approver="bob")
    account.decisions.assign(Selection(reason="unmapped-code"), accept)
    account.pauses.resume(STREAM, by="anna")
    land(new_run(), ORGANIZATIONS, ALL)
    migrate(new_run(), ORGANIZATIONS)
    assert states(account) == {State.QUARANTINED: 6}
    assert account.decisions.groups(Selection(open_only=True)) == []


def test_a_rehearsal_says_everything_that_is_wrong(
    new_run: NewRun, source: ScriptedSource, account: Manifest
) -> None:
    fill(source, bad=12, good=1)
    for n in range(15):
        source.rows[STREAM].append(PulledRow(None, {"n": n}, START, False, "id-missing"))
    run = new_run(phase="rehearse")
    land(run, ORGANIZATIONS, ALL)
    migrate(run, ORGANIZATIONS)
    assert states(account) == {State.QUARANTINED: 27, State.PENDING: 1}
