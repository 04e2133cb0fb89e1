"""A walk meets every row, however many change under it; what it cannot promise it refuses."""

import datetime as dt
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migration_assets.errors import Permanent, Transient
from migration_assets_tests.legacy.imagined_source import ImaginedSource, Rows, pulls

START = dt.datetime(2024, 5, 1, tzinfo=dt.UTC)
CURSOR = {"field": "changed", "param": "since", "until_param": "before"}
INSIDE: dict[str, dict[str, Any]] = {
    "pages": {"type": "page", "size_param": "limit", "size": 3},
    "pages, total": {"type": "page", "size_param": "limit", "size": 3, "total": "total"},
    "offset": {"type": "offset", "size": 3, "overlap": 1},
    "links": {"type": "link_header"},
    "token": {"type": "cursor", "path": "token", "param": "at"},
}


def at(second: int) -> str:
    return (START + dt.timedelta(seconds=second)).isoformat().replace("+00:00", "Z")


def clinic(
    seconds: dict[int, int], *, inclusive: bool = True, ascending: bool = True
) -> ImaginedSource:
    """Rows by key and second of change, sorted and filtered by it, three to a page."""

    def rows() -> Rows:
        found = [{"shown": {"id": key, "changed": at(when)}} for key, when in seconds.items()]
        found.sort(key=lambda row: (row["shown"]["changed"], row["shown"]["id"]))
        return found if ascending else found[::-1]

    def keeps(row: dict[str, Any], query: dict[str, str]) -> bool:
        when, since = row["shown"]["changed"], query.get("since", "")
        return bool(
            (when >= since if inclusive else when > since) and when < query.get("before", "~")
        )

    return ImaginedSource(rows, keeps, cap=3, with_total=True)


def seen(source: ImaginedSource, inside: dict[str, Any], **stream: Any) -> dict[str, str]:
    pager = {"type": "walk", "within_tie": inside}
    puller = pulls(source, pager=pager, cursor=CURSOR, **stream)
    pages = puller.pages("p", START, None)
    return {str(row.key): row.row["changed"] for page in pages for row in page.rows}


@pytest.mark.parametrize("name", INSIDE)
@settings(max_examples=40, deadline=None)
@given(times=st.lists(st.integers(0, 6), max_size=25))
def test_every_row_comes_however_many_share_an_instant(name: str, times: list[int]) -> None:
    source = clinic(dict(enumerate(times)))
    assert seen(source, INSIDE[name]) == {str(n): at(one) for n, one in enumerate(times)}


@settings(max_examples=150, deadline=None)
@given(
    count=st.integers(1, 25),
    changes=st.lists(st.tuples(st.integers(1, 30), st.integers(0, 24)), max_size=12),
)
def test_rows_that_change_under_a_walk_are_met_again(
    count: int, changes: list[tuple[int, int]]
) -> None:
    """Page numbers over the same rows lose them: 10 to 28 of some thousand were measured."""
    seconds = {key: key for key in range(count)}
    source = clinic(seconds)
    serve = source.rows
    left = sorted(change for change in changes if change[1] < count)

    def while_people_work() -> Rows:
        while left and left[0][0] <= source.requests_made:
            seconds[left.pop(0)[1]] = 100 + len(changes) - len(left)
        return serve()

    source.rows = while_people_work
    found = seen(source, INSIDE["pages"])
    assert set(found) == {str(key) for key in range(count)}
    # What changed behind the last page is for the next pull: later than the source's first answer.
    assert all(found[str(key)] == at(when) for key, when in seconds.items() if when < 100)


@pytest.mark.parametrize("name", INSIDE)
@pytest.mark.parametrize("count", [8, 4, 3])
def test_a_row_that_leaves_a_long_instant_takes_no_other_along(name: str, count: int) -> None:
    """An import gives thousands of rows one time; whoever edits one of them shifts all that follow.

    Of 8, 4 and 3 rows and as many a second later, read three at a time, one was lost each time.
    """
    seconds = dict.fromkeys(range(count), 0) | dict.fromkeys(range(count, count + 4), 1)
    source = clinic(seconds)
    serve = source.rows

    def while_people_work() -> Rows:
        if source.requests_made >= 2:
            seconds[1] = 50
        return serve()

    source.rows = while_people_work
    assert set(seen(source, INSIDE[name])) == {str(key) for key in seconds}


@pytest.mark.parametrize("name", INSIDE)
@settings(max_examples=100, deadline=None)
@given(
    times=st.lists(st.integers(0, 3), min_size=1, max_size=20),
    changes=st.lists(st.tuples(st.integers(1, 20), st.integers(0, 19), st.booleans()), max_size=4),
    until=st.sampled_from([None, 40]),
)
def test_no_row_slips_away_inside_an_instant(
    name: str, times: list[int], changes: list[tuple[int, int, bool]], until: int | None
) -> None:
    """Edited, deleted, or moved out of a window that ends in the past."""
    seconds = dict(enumerate(times))
    source = clinic(seconds)
    serve, left, touched = source.rows, sorted(changes), set()

    def while_people_work() -> Rows:
        while left and left[0][0] <= source.requests_made:
            _, key, deleted = left.pop(0)
            if key in seconds:
                touched.add(key)
                seconds[key] = 100 - len(left)
                if deleted:
                    del seconds[key]
        return serve()

    source.rows = while_people_work
    puller = pulls(source, pager={"type": "walk", "within_tie": INSIDE[name]}, cursor=CURSOR)
    end = START + dt.timedelta(seconds=until) if until else None
    try:
        found = {row.key for page in puller.pages("p", START, end) for row in page.rows}
    except Transient:
        return
    expected = set(seconds) if until is None else set(seconds) - touched
    assert found >= {str(key) for key in expected}


@pytest.mark.parametrize(("name", "requests"), [("pages", 8), ("links", 6), ("offset", 5)])
def test_only_an_instant_of_several_pages_is_read_twice(name: str, requests: int) -> None:
    """Nine rows of one instant are three pages, and an empty one, or two more for an overlap."""
    source = clinic(dict.fromkeys(range(9), 0))
    assert len(seen(source, INSIDE[name])) == 9
    assert source.requests_made == requests


def test_a_page_with_room_left_is_not_read_again() -> None:
    """Every idle poll would ask five times instead of three."""
    source = clinic({1: 1, 2: 2})
    assert len(seen(source, INSIDE["pages"])) == 2
    assert source.requests_made == 3


def test_an_instant_that_never_stands_still_is_not_called_complete() -> None:
    seconds = dict.fromkeys(range(60), 0)
    source = clinic(seconds)
    serve = source.rows

    def while_people_work() -> Rows:
        seconds.update(dict.fromkeys(range(60), 0) | {source.requests_made % 60: 50})
        return serve()

    source.rows = while_people_work
    with pytest.raises(Transient, match="rows moved between pages"):
        seen(source, INSIDE["links"])


def test_a_walk_costs_little_more_than_the_pages_there_are() -> None:
    source = clinic({key: key for key in range(30)})
    assert len(seen(source, INSIDE["pages, total"])) == 30
    assert source.requests_made <= 15  # a step of three rows moves on by two


def test_an_idle_stream_costs_a_walk_one_request() -> None:
    source = clinic({})
    assert seen(source, INSIDE["pages, total"]) == {}
    assert source.requests_made == 1


def test_rows_that_are_not_ascending_stop_a_walk() -> None:
    with pytest.raises(Permanent, match="ascending order of the cursor's field, and they are not"):
        seen(clinic({key: key for key in range(9)}, ascending=False), INSIDE["pages"])


def test_a_filter_that_excludes_equality_stops_a_walk_that_was_told_otherwise() -> None:
    """Rows of one instant beyond a page's end would be skipped, and nobody would know."""
    source = clinic({key: key for key in range(30)}, inclusive=False)
    with pytest.raises(Permanent, match="lower filter that includes equality, and it does not"):
        seen(source, INSIDE["pages"])
