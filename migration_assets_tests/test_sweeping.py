"""Sweeps: a row is gone when that is proved, and not before."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from migration_assets.adoption import read_adoption
from migration_assets.errors import Permanent, Transient
from migration_assets.legacy import Presence, Sighting
from migration_assets.manifest import Manifest, State
from migration_assets.pipeline import land, migrate
from migration_assets.run import Run, Way, Window
from migration_assets.sweeping import Sweep, sweep
from migration_assets_tests.blank_accounts import blank_file
from migration_assets_tests.scripted import NOW, ORGANIZATIONS, START, ScriptedSource

STREAM = "organizations"
EVERYTHING = Window(None, None)
NewRun = Callable[[], Run]


@pytest.fixture
def account(tmp_path: Path) -> Manifest:
    return Manifest(blank_file(tmp_path / "m.db"), clock=lambda: datetime.now(UTC))


@pytest.fixture
def source() -> ScriptedSource:
    return ScriptedSource()


@pytest.fixture
def new_run(account: Manifest, source: ScriptedSource) -> NewRun:
    def make() -> Run:
        number = account.start_run("test", pipeline_version="0")
        return Run(
            id=number,
            label=f"run-{number}",
            manifest=account,
            puller=source,
            adoption=read_adoption(""),
            fhir=None,
            deadline_seconds=30,
        )

    return make


@pytest.fixture
def sweeping(new_run: NewRun) -> Callable[..., Sweep]:
    def once(allow_missing: int | None = None) -> Sweep:
        return sweep(new_run(), ORGANIZATIONS, allow_missing=allow_missing)

    return once


def fill(source: ScriptedSource, run: Run, rows: int) -> None:
    for number in range(rows):
        source.put(STREAM, f"O{number:03}", at=number)
    land(run, ORGANIZATIONS, EVERYTHING)


def live(account: Manifest) -> list[str]:
    return [each.key for each in account.landed_units(STREAM, limit=10_000) if not each.deleted]


def test_a_row_missing_once_is_not_gone_where_nobody_can_be_asked(
    source: ScriptedSource, account: Manifest, new_run: NewRun, sweeping: Callable[..., Sweep]
) -> None:
    """A replica that lags, a permission that flickers: one silence proves nothing."""
    fill(source, new_run(), 10)
    source.drop(STREAM, "O003")
    first = sweeping()
    assert (first.absent, first.gone, first.waiting) == (1, 0, 1)
    assert len(live(account)) == 10
    second = sweeping()
    assert (second.absent, second.gone, second.waiting) == (1, 1, 0)
    assert "O003" not in live(account)
    assert sweeping().absent == 0, "what is gone is not missed again"


def test_a_row_seen_between_two_sweeps_starts_anew(
    source: ScriptedSource, account: Manifest, new_run: NewRun, sweeping: Callable[..., Sweep]
) -> None:
    fill(source, new_run(), 10)
    kept = source.drop(STREAM, "O003")
    sweeping()
    source.rows[STREAM].append(kept)
    land(new_run(), ORGANIZATIONS, Window(None, None, way=Way.INCREMENTAL))
    source.drop(STREAM, "O003")
    assert sweeping().gone == 0
    assert len(live(account)) == 10


def test_the_source_itself_confirms_an_absence_at_once(
    source: ScriptedSource, account: Manifest, new_run: NewRun, sweeping: Callable[..., Sweep]
) -> None:
    fill(source, new_run(), 10)
    source.drop(STREAM, "O003")
    source.sightings[STREAM] = source.asked_honestly
    found = sweeping()
    assert (found.gone, found.waiting) == (1, 0)
    assert "O003" not in live(account)


def test_a_row_the_list_hides_but_the_source_still_has_is_kept_as_it_is_now(
    source: ScriptedSource, account: Manifest, new_run: NewRun, sweeping: Callable[..., Sweep]
) -> None:
    """ohcnetwork/care hides soft-deleted rows from lists, other systems hide archived ones."""
    fill(source, new_run(), 10)
    kept = source.drop(STREAM, "O003")
    now = replace(kept, row={"id": "O003", "name": "changed meanwhile"})

    def hidden(key: str) -> Sighting:
        if key == "O003":
            return Sighting(Presence.PRESENT, now, landable=True)
        return source.asked_honestly(key)

    source.sightings[STREAM] = hidden
    for _ in range(3):
        found = sweeping()
        assert (found.gone, found.waiting) == (0, 0)
    (unit,) = account.landed_units(STREAM, limit=1, keys=["O003"])
    assert unit.row["name"] == "changed meanwhile"


def test_a_row_merged_into_another_is_neither_gone_nor_replaced_by_what_the_look_up_shows(
    source: ScriptedSource, account: Manifest, new_run: NewRun, sweeping: Callable[..., Sweep]
) -> None:
    """The answer for one row may have another shape than the list's: its content is not taken."""
    fill(source, new_run(), 10)
    kept = source.drop(STREAM, "O003")
    shown = replace(kept, row={"data": {"id": "O003"}}, merged_into="O004")

    def merged(key: str) -> Sighting:
        if key == "O003":
            return Sighting(Presence.PRESENT, shown)
        return source.asked_honestly(key)

    source.sightings[STREAM] = merged
    for _ in range(2):
        found = sweeping()
        assert (found.gone, found.hidden) == (0, 1)
    (unit,) = account.landed_units(STREAM, limit=1, keys=["O003"])
    assert (unit.merged_into, unit.revision) == ("O004", 2)
    assert unit.row == kept.row


def test_a_path_that_answers_404_to_everything_confirms_nothing(
    source: ScriptedSource, account: Manifest, new_run: NewRun, sweeping: Callable[..., Sweep]
) -> None:
    """A misspelt path in the description would delete every row a flickering list leaves out."""
    fill(source, new_run(), 10)
    source.drop(STREAM, "O003")
    source.sightings[STREAM] = lambda _key: Sighting(Presence.GONE, None)
    found = sweeping()
    assert (found.gone, found.waiting) == (0, 1)
    assert len(live(account)) == 10


def test_too_many_missing_rows_are_a_fault_of_the_reading_and_change_nothing(
    source: ScriptedSource, account: Manifest, new_run: NewRun, sweeping: Callable[..., Sweep]
) -> None:
    """A credential that lost half its rights sees half the clinic: legacy-apis §4.5, breaker."""
    fill(source, new_run(), 100)
    for number in range(6):
        source.drop(STREAM, f"O{number:03}")
    for _ in range(3):
        with pytest.raises(Permanent, match=r"6 of 100 .*--allow-missing 6"):
            sweeping()
    assert len(live(account)) == 100
    last = account.last_sweep(STREAM)
    assert last is not None
    assert (last.verdict, last.absent, last.gone) == ("refused", 6, 0)
    assert sweeping(allow_missing=6).waiting == 6, "a person's word counts as one sweep, not two"
    assert sweeping(allow_missing=6).gone == 6


def test_an_empty_answer_never_empties_the_account(
    source: ScriptedSource, account: Manifest, new_run: NewRun, sweeping: Callable[..., Sweep]
) -> None:
    """Three rows are within the breaker's limit, but a stream that shows nothing is broken."""
    fill(source, new_run(), 3)
    source.rows[STREAM].clear()
    for _ in range(3):
        with pytest.raises(Permanent, match="refused"):
            sweeping()
    assert len(live(account)) == 3


def test_a_sweep_cut_off_anywhere_counts_for_nothing(
    source: ScriptedSource, account: Manifest, new_run: NewRun, sweeping: Callable[..., Sweep]
) -> None:
    fill(source, new_run(), 10)
    source.drop(STREAM, "O009")
    for page in range(5):
        source.fail_at = page
        with pytest.raises(Transient):
            sweeping()
    source.fail_at = None
    assert account.last_sweep(STREAM) is None
    assert sweeping().gone == 0, "none of the five was the first of two clean ones"
    assert sweeping().gone == 1


def test_a_row_that_landed_while_the_sweep_was_under_way_is_not_absent(
    source: ScriptedSource, account: Manifest, new_run: NewRun
) -> None:
    """An incremental pull beside the sweep lands rows on pages the sweep has passed."""
    fill(source, new_run(), 10)

    def meanwhile(page: int) -> None:
        if page == 3:
            source.before_page = None
            source.put(STREAM, "A-new", at=-5)
            beside = new_run()
            land(beside, ORGANIZATIONS, EVERYTHING)

    source.before_page = meanwhile
    source.drop(STREAM, "O009")
    found = sweep(new_run(), ORGANIZATIONS)
    assert found.absent == 1
    assert "A-new" in live(account)


def test_what_the_sweep_finds_changed_is_landed_though_its_time_did_not_move(
    source: ScriptedSource, account: Manifest, new_run: NewRun, sweeping: Callable[..., Sweep]
) -> None:
    """A soft delete without a bump of the change time: no incremental pull ever sees it."""
    fill(source, new_run(), 4)
    source.put(STREAM, "O002", at=2, name="changed in silence")
    assert sweeping().landed.changed == 1
    (unit,) = account.landed_units(STREAM, limit=1, keys=["O002"])
    assert unit.row["name"] == "changed in silence"


def test_a_row_dated_where_the_source_is_not_asked_is_never_absent(
    source: ScriptedSource, account: Manifest, new_run: NewRun, sweeping: Callable[..., Sweep]
) -> None:
    """A largest window has an end: the row dated 2099 is in no window, and lives."""
    fill(source, new_run(), 10)
    for key in ("O000", "O009"):
        source.drop(STREAM, key)
    source.span = (START + timedelta(seconds=1), START + timedelta(seconds=9))
    for _ in range(3):
        assert sweeping().absent == 0
    assert len(live(account)) == 10
    source.span = (None, None)
    assert sweeping().absent == 2


def test_a_sweep_never_moves_the_mark(
    source: ScriptedSource, account: Manifest, new_run: NewRun, sweeping: Callable[..., Sweep]
) -> None:
    fill(source, new_run(), 4)
    mark = account.high_water_mark(STREAM)
    source.now = NOW.replace(year=NOW.year)
    sweeping()
    assert account.high_water_mark(STREAM) == mark


def test_two_sweeps_at_once_do_not_count_as_two_in_a_row(
    source: ScriptedSource, account: Manifest, new_run: NewRun
) -> None:
    fill(source, new_run(), 10)
    source.drop(STREAM, "O003")

    def meanwhile(page: int) -> None:
        if page == 1:
            source.before_page = None
            with pytest.raises(Transient, match="sweep of organizations"):
                sweep(new_run(), ORGANIZATIONS)

    source.before_page = meanwhile
    assert sweep(new_run(), ORGANIZATIONS).gone == 0


def test_collisions_and_rows_without_a_key_are_not_deleted_by_a_single_silence(
    source: ScriptedSource, account: Manifest, new_run: NewRun, sweeping: Callable[..., Sweep]
) -> None:
    fill(source, new_run(), 10)
    twin = source.rows[STREAM][3]
    source.rows[STREAM].append(replace(twin, row={"id": "O003", "name": "twin"}))
    lost = replace(twin, key=None, row={"name": "nobody"}, problem="id-missing")
    source.rows[STREAM].append(lost)
    land(new_run(), ORGANIZATIONS, EVERYTHING)
    assert account.balances()[STREAM].by_state[State.QUARANTINED] == 3
    source.rows[STREAM] = [each for each in source.rows[STREAM] if each.key not in (None, "O003")]
    source.sightings[STREAM] = source.asked_honestly
    assert sweeping().gone == 0
    assert sweeping().gone == 1, "the row without a key; which of two twins went, a person says"


def test_a_removed_row_is_settled_and_comes_back_when_the_source_shows_it_again(
    source: ScriptedSource, account: Manifest, new_run: NewRun, sweeping: Callable[..., Sweep]
) -> None:
    fill(source, new_run(), 10)
    kept = source.drop(STREAM, "O003")
    sweeping()
    sweeping()
    migrate(new_run(), ORGANIZATIONS)
    assert account.balances()[STREAM].by_state[State.SKIPPED] == 1
    source.rows[STREAM].append(kept)
    assert sweeping().landed.changed == 1
    assert "O003" in live(account)
    assert account.balances()[STREAM].holds


@pytest.mark.parametrize("asleep", ["in the list", "in a look-up"])
def test_a_sweeper_that_slept_through_a_take_over_ends_nothing(
    source: ScriptedSource,
    account: Manifest,
    new_run: NewRun,
    sweeping: Callable[..., Sweep],
    monkeypatch: pytest.MonkeyPatch,
    asleep: str,
) -> None:
    """What it saw is hours old: the row came back, and the one who took over has seen that."""
    ahead = [timedelta(0)]
    monkeypatch.setattr(account, "_clock", lambda: datetime.now(UTC) + sum(ahead, timedelta(0)))
    fill(source, new_run(), 10)
    dropped = source.drop(STREAM, "O009")
    honest = source.asked_honestly
    source.sightings[STREAM] = honest

    def overtaken() -> None:
        ahead.append(timedelta(hours=1))
        source.before_page = None
        source.sightings[STREAM] = honest
        source.rows[STREAM].append(dropped)
        assert (sweeping().absent, sweeping().gone) == (0, 0)

    def in_the_list(page: int) -> None:
        if page == 2:
            overtaken()

    def in_a_look_up(key: str) -> Sighting:
        told = honest(key)
        if key == "O009":
            overtaken()
        return told

    if asleep == "in the list":
        source.before_page = in_the_list
    else:
        source.sightings[STREAM] = in_a_look_up
    with pytest.raises(Transient, match="took over"):
        sweeping()
    assert len(live(account)) == 10
    last = account.last_sweep(STREAM)
    assert last is not None
    assert (last.rows, last.absent) == (10, 0)
