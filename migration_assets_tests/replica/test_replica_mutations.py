"""The law can be broken: each rule of pulling, taken away, loses a row that the law misses.

Every scenario is quiet with the rule in place; that half keeps it honest.
"""

import datetime as dt
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest

from migration_assets import pipeline, sweeping
from migration_assets.defs.partitions import windows
from migration_assets.errors import Permanent
from migration_assets.legacy import reading
from migration_assets.legacy.description import Cursor
from migration_assets.legacy.timestamps import lower_bound
from migration_assets.manifest import Absent
from migration_assets_tests.replica import account as accounts
from migration_assets_tests.replica.account import Account
from migration_assets_tests.replica.clinic import Change, Clinic, Kind
from migration_assets_tests.replica.law import differences, losses
from migration_assets_tests.replica.server import Moment
from migration_assets_tests.replica.shapes import Shape, described

NOON = dt.datetime(2024, 5, 14, 12, tzinfo=dt.UTC)
SECOND = dt.timedelta(seconds=1)


@contextmanager
def opened(shape: Shape, *ages: float, told: Shape | None = None) -> Iterator[Account]:
    """An account of a clinic at noon; ``told`` is what the description says if it lies."""
    source = described(told or shape)
    assert source is not None
    clinic = Clinic(NOON, shape.deletion, dt.timedelta(seconds=shape.late_seconds))
    clinic.found(NOON - age * SECOND for age in ages)
    account = Account(clinic, shape, source)
    try:
        yield account
    finally:
        account.manifest.close()


def a_transaction_that_commits_late() -> list[str]:
    """Stamped before a row that is pulled, visible after it."""
    with opened(Shape(late_seconds=60), 10) as account:
        account.backfill(account.keys)
        account.clinic.work([Change(Kind.INSERT, late=1.0)])
        account.clinic.advance(20 * SECOND)
        account.clinic.work([Change(Kind.INSERT)])
        account.clinic.advance(20 * SECOND)
        account.follow()
        account.clinic.advance(60 * SECOND)
        account.follow()
        return losses(account, account.clinic)


def a_row_dated_in_the_future() -> list[str]:
    """By a source whose clock is an hour behind ours."""
    with opened(Shape(skew_seconds=-3_600), 10, 10) as account:
        account.backfill(account.keys)
        account.clinic.work([Change(Kind.FUTURE)])
        account.follow()
        account.clinic.advance(600 * SECOND)
        account.clinic.work([Change(Kind.UPDATE, which=1)])
        account.clinic.advance(10 * SECOND)
        account.follow()
        return losses(account, account.clinic)


def a_row_of_midnight_behind_an_exclusive_filter() -> list[str]:
    """At the first instant of a window."""
    with opened(Shape(inclusive=False), 43_200) as account:
        account.backfill(account.keys)
        account.follow()
        return losses(account, account.clinic)


def a_row_changed_between_two_pages() -> list[str]:
    """It moves to the end and draws another one into the page that was read."""
    return _sorted_by_change_time(walks=True)


def the_same_by_page_numbers() -> list[str]:
    """What the loader refuses, told that the order is fixed."""
    return _sorted_by_change_time(walks=False)


def _sorted_by_change_time(*, walks: bool) -> list[str]:
    pager = "link_header" if walks else "page"
    shape = Shape(order="change_time", pager=pager, walks=walks, size=2, largest=2)
    told = shape if walks else replace(shape, order="fixed", promises_sweep=True)
    with opened(shape, 50, 40, 30, 20, told=told) as account:
        account.backfill(account.keys[:-1])
        between = Moment(changes=(Change(Kind.UPDATE),))
        account.backfill(account.keys[-1:], [Moment(), between])
        account.clinic.advance(10 * SECOND)
        account.follow()
        return losses(account, account.clinic)


def a_living_row_that_one_whole_reading_does_not_show() -> list[str]:
    """A walk is past the place where a change dated earlier takes a row."""
    shape = Shape(order="change_time", pager="link_header", walks=True, size=2, largest=2)
    with opened(shape, 50, 40, 30, 20) as account:
        account.backfill(account.keys)
        backdated = Change(Kind.BACKDATED, which=3)
        assert account.sweep([Moment(), Moment(changes=(backdated,))]).absent == 1
        return [said for said in differences(account, account.clinic) if "deleted" in said]


def a_source_that_shows_half_of_its_rows() -> list[str]:
    """Its credential may have lost a right: no absence counts, however often it is seen."""
    with opened(Shape(), *range(20)) as account:
        account.backfill(account.keys)
        account.clinic.work(Change(Kind.DELETE) for _ in range(10))
        before = account.held()
        for _ in range(3):
            with suppress(Permanent):
                account.sweep()
        return [f"{key} was changed" for key, held in account.held().items() if held != before[key]]


def without_lookback(monkeypatch: pytest.MonkeyPatch) -> None:
    def mutated(*arguments: Any, **named: Any) -> Any:
        return windows(*arguments, **{**named, "lookback": dt.timedelta(0)})

    monkeypatch.setattr(accounts, "windows", mutated)


def without_the_source_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "_mark", lambda _window, newest, _last: newest)


def without_the_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    def mutated(cursor: Cursor, since: dt.datetime) -> str:
        return lower_bound(cursor.model_copy(update={"inclusive": True}), since)

    monkeypatch.setattr(reading, "lower_bound", mutated)


def without_a_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    def mutated(verdicts: Any, each: Absent) -> None:
        verdicts.gone.append(each)

    monkeypatch.setattr(sweeping._Verdicts, "judge", mutated)


def without_the_breaker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "_limit", lambda held: held)


@pytest.mark.parametrize(
    ("scenario", "mutation"),
    [
        (a_transaction_that_commits_late, without_lookback),
        (a_row_dated_in_the_future, without_the_source_clock),
        (a_row_of_midnight_behind_an_exclusive_filter, without_the_tick),
        (a_living_row_that_one_whole_reading_does_not_show, without_a_second_look),
        (a_source_that_shows_half_of_its_rows, without_the_breaker),
    ],
)
def test_a_rule_taken_away_loses_a_row(
    scenario: Callable[[], list[str]],
    mutation: Callable[[pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert scenario() == []
    mutation(monkeypatch)
    assert scenario() != []


@pytest.mark.parametrize("pager", ["page", "offset", "link_header", "cursor"])
def test_where_pages_count_rows_a_deletion_hides_another_until_the_promised_sweep(
    pager: str,
) -> None:
    """And none with an overlap, or where the source remembers the last row."""
    counting = Shape(pager=pager, size=2, largest=2, remembers=False, promises_sweep=True)
    assert _deleted_between_two_pages(counting, sweeps=0) != []
    assert _deleted_between_two_pages(counting, sweeps=1) == []
    sound = replace(counting, overlap=1, remembers=True)
    if not sound.needs_sweep:
        assert _deleted_between_two_pages(sound, sweeps=0) == []


def _deleted_between_two_pages(shape: Shape, *, sweeps: int) -> list[str]:
    with opened(shape, 50, 40, 30, 20) as account:
        account.backfill(account.keys[:-1])
        between = Moment(changes=(Change(Kind.DELETE),))
        account.backfill(account.keys[-1:], [Moment(), between])
        account.clinic.advance(10 * SECOND)
        account.follow()
        for _ in range(sweeps):
            account.sweep()
        return losses(account, account.clinic)


def test_page_numbers_over_a_moving_order_lose_what_a_walk_keeps() -> None:
    assert a_row_changed_between_two_pages() == []
    assert the_same_by_page_numbers() != []
