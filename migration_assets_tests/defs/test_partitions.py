"""Windows: however time is cut, every change falls in exactly one window."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration_assets.defs.partitions import change_time_partitions, windows
from migration_assets.run import Way
from migration_assets.settings import Settings
from migration_assets.steps.coverage import window_keys

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def _settings(**values: Any) -> Settings:
    return Settings.model_validate({"MIGRATION_START": "2026-08-01", **values})


def _somewhen(years: int) -> st.SearchStrategy[datetime]:
    """A moment within a year, ``years`` away from now."""
    return st.integers(0, 366 * 86_400).map(
        lambda seconds: NOW + timedelta(days=365 * years, seconds=seconds)
    )


@pytest.mark.parametrize("size", ["monthly", "weekly", "daily"])
@given(at=st.integers(-100, 200).flatmap(_somewhen))
def test_every_change_time_falls_in_exactly_one_window(size: str, at: datetime) -> None:
    """Also one before the first partition or dated in the future: it would never be pulled."""
    partitions = change_time_partitions(_settings(MIGRATION_PARTITIONS=size))
    keys = partitions.get_partition_keys(current_time=NOW)
    made = windows(partitions, keys, now=NOW)
    holding = [
        each
        for each in made
        if (each.since is None or each.since <= at) and (each.until is None or at < each.until)
    ]
    assert len(holding) == 1


def test_the_open_period_is_a_partition_and_reaches_now() -> None:
    partitions = change_time_partitions(_settings())
    keys = partitions.get_partition_keys(current_time=NOW)
    assert keys[-1].startswith("2026-11")
    last = windows(partitions, keys, now=NOW)[-1]
    assert last.until is None
    assert last.partition == keys[-1]


def test_an_incremental_pull_is_the_same_windows_clipped_at_the_mark() -> None:
    partitions = change_time_partitions(_settings())
    keys = partitions.get_partition_keys(current_time=NOW)
    mark, lookback = datetime(2026, 10, 30, tzinfo=UTC), timedelta(hours=1)
    made = windows(partitions, keys, now=NOW, mark=mark, lookback=lookback)
    assert [each.since for each in made] == [mark - lookback, datetime(2026, 11, 1, tzinfo=UTC)]
    assert [each.partition for each in made] == [None, None]
    assert not any(each.way is Way.BACKFILL for each in made)


def test_an_incremental_pull_of_one_partition_skips_nothing_since_the_mark() -> None:
    """It moves the mark to now: what it left out below its partition would never be read."""
    partitions = change_time_partitions(_settings())
    (key,) = partitions.get_partition_keys(current_time=NOW)[-1:]
    mark = datetime(2026, 9, 10, tzinfo=UTC)
    (made,) = windows(partitions, [key], now=NOW, mark=mark)
    assert (made.since, made.until) == (mark, None)


def test_a_mark_ahead_of_the_clock_leaves_the_open_window_to_pull() -> None:
    """A source whose clock runs ahead must not end the pulling."""
    partitions = change_time_partitions(_settings())
    keys = partitions.get_partition_keys(current_time=NOW)
    made = windows(partitions, keys, now=NOW, mark=NOW + timedelta(days=2))
    assert len(made) == 1


@pytest.mark.parametrize("size", ["monthly", "weekly", "daily"])
@hypothesis.settings(max_examples=25)
@given(start=st.dates(date(2023, 1, 1), date(2026, 11, 1)), hours=st.integers(0, 24 * 40))
def test_the_windows_that_a_gate_asks_for_are_the_partitions_there_are(
    size: Any, start: date, hours: int
) -> None:
    """One too few, and a type is flipped of which a month was never read."""
    now = NOW + timedelta(hours=hours)
    settings = Settings.model_validate(
        {"MIGRATION_START": start.isoformat(), "MIGRATION_PARTITIONS": size}
    )
    partitions = change_time_partitions(settings)
    expected = partitions.get_partition_keys(current_time=now)
    assert list(window_keys(size, settings.start_at, now)) == list(expected)
