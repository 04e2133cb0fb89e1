"""Windows are half-open: laid end to end they give every row once, in every dialect of time."""

import datetime as dt
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from migration_assets_tests.legacy.imagined_source import (
    DIALECTS,
    SERVED,
    Dialect,
    ImaginedSource,
    pulls,
)

_NOVEMBER = dt.datetime(2024, 11, 3, 5, tzinfo=dt.UTC)  # New York's clocks go back at 06:00Z
_MARCH = dt.datetime(2024, 3, 10, 7, tzinfo=dt.UTC)  # and forward at this instant


def _moment(near: dt.datetime, seconds: int, microseconds: int) -> dt.datetime:
    return near + dt.timedelta(seconds=seconds, microseconds=microseconds)


seconds = st.one_of(
    st.integers(-10, 10).map(lambda quarters: quarters * 900),  # often in the repeated hour
    st.integers(-200_000, 200_000),
)
moments = st.builds(
    _moment,
    st.sampled_from([_NOVEMBER, _MARCH]),
    seconds,
    st.sampled_from([0, 0, 1, 499_999, 500_000, 999_999]),
)


def imagined(
    dialect: Dialect, instants: list[dt.datetime], *, compares: str, fold: int, inclusive: bool
) -> ImaginedSource:
    rows = [
        {"at": at, "shown": {"id": number, "changed": dialect.shown(at)}}
        for number, at in enumerate(sorted(instants))
    ]

    def keeps(row: dict[str, Any], query: dict[str, str]) -> bool:
        at = dialect.truncated(row["at"]) if compares == "ticks" else row["at"]
        if "from" in query:
            begin = dialect.read(query["from"], fold)
            if not (at >= begin if inclusive else at > begin):
                return False
        return "to" not in query or bool(at < dialect.read(query["to"], fold))

    return ImaginedSource(lambda: rows, keeps)


@pytest.mark.parametrize("name", DIALECTS)
@settings(max_examples=60, deadline=None)
@given(
    instants=st.lists(moments, max_size=12),
    cuts=st.lists(moments, min_size=1, max_size=4, unique=True),
    compares=st.sampled_from(["instants", "ticks"]),
    fold=st.sampled_from([0, 1]),
    inclusive=st.booleans(),
)
@example(  # a row of the second 01:30, a cut in the first 01:45
    instants=[_NOVEMBER + dt.timedelta(minutes=90)],
    cuts=[_NOVEMBER + dt.timedelta(minutes=45)],
    compares="instants",
    fold=0,
    inclusive=True,
)
@example(  # a tick before a cut at the moment clocks go forward is a time that never happens
    instants=[_MARCH],
    cuts=[_MARCH],
    compares="instants",
    fold=0,
    inclusive=False,
)
def test_windows_end_to_end_give_every_row_exactly_once(
    name: str,
    instants: list[dt.datetime],
    cuts: list[dt.datetime],
    compares: str,
    fold: int,
    inclusive: bool,
) -> None:
    """Whatever the server compares, wherever the cuts fall, also where clocks are set."""
    dialect = DIALECTS[name]
    source = imagined(dialect, instants, compares=compares, fold=fold, inclusive=inclusive)
    cursor = {
        "field": "changed",
        "param": "from",
        "until_param": "to",
        "inclusive": inclusive,
        **dialect.cursor,
    }
    puller = pulls(source, cursor=cursor)
    ends = [None, *sorted(cuts), None]
    seen: Counter[str | None] = Counter()
    for since, until in pairwise(ends):
        for page in puller.pages("p", since, until):
            for row in page.rows:
                assert row.changed_at is not None
                assert since is None or row.changed_at >= since
                assert until is None or row.changed_at < until
            seen.update(row.key for row in page.rows)
    assert seen == Counter(str(number) for number in range(len(instants)))


def test_a_source_that_cannot_filter_is_read_whole_and_cut_here() -> None:
    rows = [{"shown": {"id": n, "changed": f"2024-01-0{n}T00:00:00Z"}} for n in (1, 2, 3)]
    source = ImaginedSource(lambda: rows)
    puller = pulls(source, cursor={"field": "changed"})
    second = dt.datetime(2024, 1, 2, tzinfo=dt.UTC)
    (page,) = puller.pages("p", second, second + dt.timedelta(days=1))
    assert [row.key for row in page.rows] == ["2"]
    assert puller.filters_by_time("p")


def test_a_stream_without_a_change_time_ignores_windows() -> None:
    puller = pulls(ImaginedSource(lambda: [{"shown": {"id": 1}}]))
    (page,) = puller.pages("p", _MARCH, _MARCH)
    assert [(row.key, row.changed_at, row.problem) for row in page.rows] == [("1", None, None)]
    assert not puller.filters_by_time("p")


def test_a_row_whose_change_time_is_unreadable_is_in_every_window() -> None:
    """Dropped by its window it would be in none, and no one would ever know."""
    rows = [{"shown": {"id": 1, "changed": bad}} for bad in (None, "yesterday", 5, "2024-01-01")]
    puller = pulls(ImaginedSource(lambda: rows), cursor={"field": "changed"})
    for since, until in ((None, _MARCH), (_MARCH, _NOVEMBER), (_NOVEMBER, None)):
        (page,) = puller.pages("p", since, until)
        assert [row.problem for row in page.rows] == ["change-time-unreadable"] * 4


def test_every_page_carries_the_server_time_of_the_first() -> None:
    rows = [{"shown": {"id": number}} for number in range(5)]
    puller = pulls(ImaginedSource(lambda: rows, cap=2), pager={"type": "link_header"})
    times = {page.server_time for page in puller.pages("p", None, None)}
    assert times == {
        dt.datetime.strptime(SERVED, "%a, %d %b %Y %H:%M:%S %Z").replace(tzinfo=dt.UTC)
    }


def test_a_window_without_zone_is_refused() -> None:
    puller = pulls(ImaginedSource(list))
    with pytest.raises(ValueError, match="time zone"):
        next(puller.pages("p", dt.datetime(2024, 1, 1), None))  # noqa: DTZ001  that is the point


def test_the_first_page_is_one_request() -> None:
    source = ImaginedSource(lambda: [{"shown": {"id": n}} for n in range(9)], cap=2)
    puller = pulls(source, pager={"type": "link_header"})
    assert [row.key for row in puller.first_page("p").rows] == ["0", "1"]
    assert puller.requests_made == 1
