"""A source that cannot answer a whole window loses nothing: it is asked in halves."""

import datetime as dt
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migration_assets.errors import Permanent, Transient
from migration_assets.legacy.failures import TooMuchForNow
from migration_assets.legacy.placement import Parameters
from migration_assets.legacy.transport import Answer
from migration_assets_tests.legacy.conftest import MakePuller
from migration_assets_tests.legacy.imagined_source import ImaginedSource, Rows, pulls
from migration_assets_tests.legacy.legacy_server import Asked, LegacyServer, Reply, json_reply
from migration_assets_tests.legacy.test_description import cursor as described_cursor
from migration_assets_tests.legacy.test_description import load_stream

START = dt.datetime(2023, 1, 1, tzinfo=dt.UTC)
CURSOR = {"field": "changed", "param": "since", "until_param": "before"}
CUT = {**CURSOR, "earliest": "2023-01-01T00:00:00Z"}


def text(moment: dt.datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def capped(instants: list[int], cap: int) -> ImaginedSource:
    """Answers the first ``cap`` rows of a window and says nothing of the others."""
    source = ImaginedSource(list)

    def rows() -> Rows:
        query = source.queries[-1]
        found: Rows = [
            {"shown": {"id": number, "changed": text(START + dt.timedelta(seconds=second))}}
            for number, second in enumerate(sorted(instants))
        ]
        kept = [
            row
            for row in found
            if query.get("since", "") <= row["shown"]["changed"] < query.get("before", "~")
        ]
        return kept[:cap]

    source.rows = rows
    return source


@settings(max_examples=80, deadline=None)
@given(
    instants=st.lists(st.integers(0, 5_000_000), max_size=30, unique=True),
    cap=st.integers(2, 8),
    since=st.sampled_from([None, START]),
    until=st.sampled_from([None, START + dt.timedelta(days=50)]),
)
def test_a_result_cap_hides_no_row(
    instants: list[int], cap: int, since: dt.datetime | None, until: dt.datetime | None
) -> None:
    source = capped(instants, cap)
    puller = pulls(source, cursor={**CUT, "cap": cap})
    seen = {row.key for page in puller.pages("p", since, until) for row in page.rows}
    expected = [
        number
        for number, second in enumerate(sorted(instants))
        if until is None or START + dt.timedelta(seconds=second) < until
    ]
    assert seen == {str(number) for number in expected}


def test_more_rows_in_one_tick_than_the_cap_are_not_called_complete() -> None:
    puller = pulls(capped([5] * 9, 4), cursor={**CUT, "cap": 4})
    with pytest.raises(Permanent, match="4 rows, the most it answers, in a window that cannot"):
        list(puller.pages("p", START, START + dt.timedelta(days=1)))


class Slow(ImaginedSource):
    """Times out when asked for more than a day."""

    def fetch(self, url: str, params: Parameters, **asked: Any) -> Answer:
        """Answer a day at most."""
        query = dict(params)
        begin, end = (dt.datetime.fromisoformat(query[name]) for name in ("since", "before"))
        if end - begin > dt.timedelta(days=1):
            raise TooMuchForNow("pulling p: the answer was not complete before the deadline")
        return super().fetch(url, params, **asked)


def test_a_window_that_times_out_is_read_in_halves() -> None:
    rows = [
        {"shown": {"id": n, "changed": text(START + dt.timedelta(hours=7 * n))}} for n in range(30)
    ]
    source = Slow(
        lambda: rows,
        lambda row, query: query["since"] <= row["shown"]["changed"] < query["before"],
    )
    puller = pulls(source, cursor=CURSOR)
    pages = puller.pages("p", START, START + dt.timedelta(days=9))
    assert [row.key for page in pages for row in page.rows] == [str(n) for n in range(30)]


@pytest.mark.parametrize("status", [413, 504])
def test_a_status_that_says_too_much_halves_the_window(
    server: LegacyServer, puller: MakePuller, status: int
) -> None:
    def route(asked: Asked) -> Reply:
        begin, end = (dt.datetime.fromisoformat(asked.one(name)) for name in ("since", "before"))
        if end - begin > dt.timedelta(days=2):
            return json_reply({}, status)
        return json_reply({"data": [{"id": asked.one("since"), "changed": asked.one("since")}]})

    server.routes["/rows"] = route
    one = puller({"cursor": CURSOR})
    pages = list(one.pages("patients", START, START + dt.timedelta(days=8)))
    days = [row.changed_at - START for page in pages for row in page.rows if row.changed_at]
    assert [one.days for one in days] == [0, 2, 4, 6]
    server.answers("/rows", json_reply({}, status))
    with pytest.raises((Permanent, Transient), match=f"it answered {status}"):
        list(one.pages("patients", START, START + dt.timedelta(seconds=1)))


def test_a_source_that_is_down_is_not_asked_for_ever_smaller_windows() -> None:
    source = Slow(list)
    puller = pulls(source, cursor=CURSOR)
    with pytest.raises(Transient, match="not complete before the deadline"):
        list(puller.pages("p", dt.datetime(1, 1, 2, tzinfo=dt.UTC), START + dt.timedelta(days=9)))


@given(days=st.integers(0, 40), largest=st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_no_window_is_longer_than_the_source_takes(days: int, largest: int) -> None:
    source = ImaginedSource(list)
    puller = pulls(source, cursor={**CUT, "max_window_seconds": largest * 86400})
    puller._clock = (START + dt.timedelta(days=days, hours=1)).timestamp
    list(puller.pages("p", None, None))
    ends = [
        (dt.datetime.fromisoformat(one["since"]), dt.datetime.fromisoformat(one["before"]))
        for one in source.queries
    ]
    assert ends[0][0] == START
    assert ends[-1][1] > START + dt.timedelta(days=days, hours=1)
    assert all(end - begin <= dt.timedelta(days=largest) for begin, end in ends)
    assert all(one[1] == two[0] for one, two in pairwise(ends))


@pytest.mark.parametrize("changes", [{"cap": 100}, {"max_window_seconds": 86400, "param": "since"}])
def test_a_cap_without_ends_to_cut_at_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Permanent, match="need until_param and earliest"):
        load_stream(**described_cursor(**changes))
