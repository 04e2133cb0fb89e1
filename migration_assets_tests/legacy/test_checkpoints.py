"""A pull that is cut off goes on from its last checkpoint, and no row is missing."""

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from migration_assets.errors import Transient
from migration_assets.legacy.pull import PulledPage, Puller
from migration_assets_tests.legacy.imagined_source import DIALECTS, Dialect, ImaginedSource, pulls
from migration_assets_tests.legacy.test_splitting import CURSOR, CUT, START, capped, text

_NEW_YORK = ZoneInfo("America/New_York")
_SET_BACK = dt.datetime(2024, 11, 3, 6, tzinfo=dt.UTC)  # New York's clocks, from 02:00 to 01:00
_LATER = dt.timedelta(days=3)


class Clinic:
    """Rows sorted by change time while people work; its clock moves with every request."""

    def __init__(
        self, dialect: Dialect, instants: list[dt.datetime], *, sorts: str, fold: int
    ) -> None:
        self.dialect, self.sorts, self.fold = dialect, sorts, fold
        self.at = dict(enumerate(instants))
        self.changes: list[tuple[int, int]] = []
        self.source = ImaginedSource(self.rows, self.keeps, cap=3, served=self.date)

    def now(self) -> dt.datetime:
        """Some days after the clocks were set: before the rows that are dated in the future."""
        return _SET_BACK + _LATER + dt.timedelta(seconds=self.source.requests_made * 0.7)

    def date(self) -> str:
        """``now`` as a header, in whole seconds."""
        return self.now().strftime("%a, %d %b %Y %H:%M:%S GMT")

    def placed(self, moment: dt.datetime) -> dt.datetime:
        """What the source sorts by and compares: the instant, or the wall time it was told."""
        if self.sorts == "instants":
            return moment
        return moment.astimezone(self.dialect.zone).replace(tzinfo=dt.UTC, fold=0)

    def rows(self) -> list[dict[str, Any]]:
        """All rows in order, after what people have done by now."""
        while self.changes and self.changes[0][0] <= self.source.requests_made:
            self.at[self.changes.pop(0)[1] % len(self.at)] = self.now()
        return [
            {"at": self.placed(at), "shown": {"id": key, "changed": self.dialect.shown(at)}}
            for key, at in sorted(self.at.items(), key=lambda one: (self.placed(one[1]), one[0]))
        ]

    def keeps(self, row: dict[str, Any], query: dict[str, str]) -> bool:
        """The filter, which includes equality."""
        if "since" not in query:
            return True
        since = self.dialect.read(query["since"], self.fold)
        return bool(row["at"] >= self.placed(since))


def cut_off(pages: Any, after: int) -> tuple[set[Any], dt.datetime | None]:
    """What came before the cut, and from where to go on."""
    seen, read_until = set(), None
    for number, page in enumerate(pages):
        seen |= versions(page)
        assert read_until is None or page.read_until >= read_until
        read_until = page.read_until
        if number == after:
            break
    return seen, read_until


def since_told(row: dict[str, Any], query: dict[str, str]) -> bool:
    """Times as text sort as they are."""
    return bool(row["shown"]["changed"] >= query.get("since", ""))


def versions(page: PulledPage) -> set[Any]:
    return {(row.key, row.row["changed"]) for row in page.rows}


def resumed(puller: Puller, after: int, since: dt.datetime | None = None, until: Any = None) -> Any:
    seen, read_until = cut_off(puller.pages("p", since, until), after)
    for page in puller.pages("p", read_until or since, until):
        seen |= versions(page)
    return seen


moments = st.builds(
    lambda quarters, seconds, micros: (
        _SET_BACK + dt.timedelta(minutes=15 * quarters, seconds=seconds, microseconds=micros)
    ),
    st.one_of(st.integers(-4, 6), st.integers(-30, 12)),  # often in the hour that comes twice
    st.integers(0, 3),
    st.sampled_from([0, 0, 400_000]),
)


@pytest.mark.parametrize("name", DIALECTS)
@settings(max_examples=150, deadline=None)
@given(
    instants=st.lists(moments, min_size=1, max_size=25),
    changes=st.lists(st.tuples(st.integers(1, 12), st.integers(0, 25)), max_size=6),
    after=st.integers(0, 12),
    sorts=st.sampled_from(["instants", "walls"]),
    fold=st.sampled_from([0, 1]),
    ahead=st.booleans(),
)
def test_a_walk_that_is_cut_off_anywhere_goes_on_without_a_gap(
    name: str,
    instants: list[dt.datetime],
    changes: list[tuple[int, int]],
    after: int,
    sorts: str,
    fold: int,
    ahead: bool,
) -> None:
    """Rows that share an instant, the hour that comes twice, rows dated in the future."""
    dialect = DIALECTS[name]
    if name != "zone-less New York":
        sorts = "instants"
    instants += [_SET_BACK + 2 * _LATER] * ahead
    clinic = Clinic(dialect, instants, sorts=sorts, fold=fold)
    clinic.changes = sorted(changes)
    puller = pulls(
        clinic.source,
        pager={"type": "walk", "within_tie": {"type": "offset", "size": 3, "overlap": 1}},
        cursor={"field": "changed", "param": "since", **dialect.cursor},
    )
    try:
        seen, read_until = cut_off(puller.pages("p", None, None), after)
        clinic.changes = []
        for page in puller.pages("p", read_until, None):
            seen |= versions(page)
    except Transient:  # rows of one instant would not stand still
        assume(False)
    assert seen >= {(str(key), dialect.shown(at)) for key, at in clinic.at.items()}


def test_a_walk_gets_on_from_checkpoint_to_checkpoint() -> None:
    """Else a source of ten million rows would have to be read in one go."""
    rows = [{"shown": {"id": n, "changed": text(START + dt.timedelta(hours=n))}} for n in range(30)]
    source = ImaginedSource(lambda: rows, since_told, cap=3)
    puller = pulls(
        source,
        pager={"type": "walk", "within_tie": {"type": "page", "size_param": "limit"}},
        cursor={"field": "changed", "param": "since"},
    )
    marks = [page.read_until for page in puller.pages("p", START, None)]
    assert marks[:4] == [START + dt.timedelta(hours=hours) for hours in (2, 4, 6, 8)]


@settings(max_examples=80, deadline=None)
@given(
    instants=st.lists(st.integers(0, 5_000_000), max_size=30, unique=True),
    largest=st.none() | st.integers(1, 20),
    since=st.sampled_from([None, START]),
    after=st.integers(0, 20),
)
def test_a_window_in_pieces_that_is_cut_off_goes_on_without_a_gap(
    instants: list[int], largest: int | None, since: dt.datetime | None, after: int
) -> None:
    source = capped(instants, 4)
    cursor: dict[str, Any] = {**CUT, "cap": 4}
    if largest is not None:
        cursor["max_window_seconds"] = largest * 86400
    until = START + dt.timedelta(days=50)
    seen = resumed(pulls(source, cursor=cursor), after, since, until)
    expected = {
        (str(number), text(START + dt.timedelta(seconds=second)))
        for number, second in enumerate(sorted(instants))
        if second < 50 * 86400
    }
    assert seen == expected


def test_a_piece_that_reached_the_cap_proves_nothing() -> None:
    puller = pulls(capped(list(range(0, 9 * 86400, 86400)), 4), cursor={**CUT, "cap": 4})
    first, *_, last = puller.pages("p", START, START + dt.timedelta(days=9))
    assert (len(first.rows), first.read_until) == (4, None)
    assert last.read_until == START + dt.timedelta(days=9)


@pytest.mark.parametrize(
    "stream",
    [
        {"pager": {"type": "link_header"}, "cursor": CURSOR, "sweep": True},
        {"cursor": None},
        {"cursor": CURSOR, "feeds": [{"path": "gone", "means": "deleted"}]},
    ],
)
def test_where_no_order_is_proven_there_is_no_checkpoint(stream: dict[str, Any]) -> None:
    rows = [{"shown": {"id": n, "changed": text(START + dt.timedelta(n))}} for n in range(9)]
    puller = pulls(ImaginedSource(lambda: rows, cap=3), **stream)
    pages = list(puller.pages("p", START, None))
    assert [page.read_until for page in pages] == [None] * len(pages)


def test_a_row_dated_in_the_future_takes_no_checkpoint_along() -> None:
    """Else what changes until then would be taken for read."""
    served = dt.datetime(2023, 11, 14, 22, 13, 20, tzinfo=dt.UTC)
    days = [served - dt.timedelta(1), served + dt.timedelta(99), served + dt.timedelta(100)]
    rows = [{"shown": {"id": n, "changed": text(day)}} for n, day in enumerate(days)]
    source = ImaginedSource(lambda: rows, since_told, cap=2)
    puller = pulls(
        source,
        pager={"type": "walk", "within_tie": {"type": "link_header"}},
        cursor={"field": "changed", "param": "since"},
    )
    assert {page.read_until for page in puller.pages("p", START, None)} == {served}


@pytest.mark.parametrize("odd", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_a_time_that_stands_for_none_stops_no_walk(odd: str) -> None:
    """Some systems write the calendar's first or last day where they know none."""
    shown = sorted([odd, "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"])
    rows = [{"shown": {"id": n, "changed": changed}} for n, changed in enumerate(shown)]
    for dialect in ("days of Kolkata, rows to the microsecond", "iso seconds"):
        source = ImaginedSource(lambda: rows, since_told, cap=2)
        puller = pulls(
            source,
            pager={"type": "walk", "within_tie": {"type": "page", "size_param": "limit"}},
            cursor={"field": "changed", "param": "since", **DIALECTS[dialect].cursor},
        )
        pages = puller.pages("p", None, None)
        assert {row.key for page in pages for row in page.rows} == {"0", "1", "2"}
