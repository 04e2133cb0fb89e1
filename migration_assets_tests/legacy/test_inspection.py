"""What a first page shows of a stream, and what is said when it contradicts the description."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pytest
import yaml

from migration_assets.legacy.description import Stream, load_description
from migration_assets.legacy.inspection import carries_zoneless_times, inspect
from migration_assets.legacy.pull import PulledPage
from migration_assets.legacy.rows import row_reader
from migration_assets.legacy.suspicions import Seen
from migration_assets_tests.legacy.conftest import PERSON

NOW = dt.datetime(2024, 3, 1, 12, 0, tzinfo=dt.UTC)
CURSOR = {"field": "at", "param": "since", "lookback_seconds": 3600}
OFFSET = {"type": "offset", "size": 100, "order": "fixed"}


def stream(**said: Any) -> Stream:
    one = {"name": "a", "path": "a", "id": "id", "cursor": CURSOR, "sweep": True, **said}
    return load_description(
        yaml.safe_dump({"name": "x", "base_url": "https://x.org", "streams": [one]})
    ).stream("a")


def ago(**before: float) -> str:
    return (NOW - dt.timedelta(**before)).isoformat()


def page(described: Stream, rows: Sequence[Any], **said: Any) -> PulledPage:
    read = row_reader(described)
    return PulledPage(tuple([read(row) for row in rows]), said.pop("server_time", NOW), **said)


def seen(described: Stream, times: Sequence[Any], **said: Any) -> Seen:
    """What a page of rows with these change times shows, keys in no order."""
    rows = [{"id": f"{n * 7 % 11}x", "at": at, "name": PERSON} for n, at in enumerate(times)]
    total = said.pop("total", None)
    options = {"asked_at": NOW.timestamp(), "answered_at": NOW.timestamp(), **said}
    return inspect(described, page(described, rows, total=total), **options)


def test_an_ordinary_page_is_told_in_numbers_alone() -> None:
    told = seen(stream(pager=OFFSET), [ago(minutes=n * n) for n in (5, 3, 9, 7, 1, 3)], total=6)
    assert (told.asked, told.served, told.more, told.total) == (100, 6, False, 6)
    assert (told.order, told.by_id) == ("none", "none")
    assert (told.tied, told.largest_tie) == (2, 2)
    assert told.precision == "minutes"
    assert told.skew == 0
    assert told.zone is None
    assert PERSON not in str(asdict(told))
    assert "2024" not in str(asdict(told))


@pytest.mark.parametrize(
    ("minutes", "order"),
    [
        ((5, 4, 4, 1), "ascending"),
        ((1, 4, 4, 5), "descending"),
        ((1, 5, 4), "none"),
        ((4, 4), None),
        ((4,), None),
        ((), None),
    ],
)
def test_the_order_is_the_one_that_is_seen(minutes: tuple[int, ...], order: str | None) -> None:
    assert seen(stream(), [ago(minutes=one) for one in minutes]).order == order


def test_keys_are_ordered_as_numbers_where_they_are() -> None:
    described = stream(cursor=None)
    rows = [{"id": one} for one in (8, 9, 10, 100)]
    told = inspect(described, page(described, rows), asked_at=0, answered_at=0)
    assert told.by_id == "ascending"
    assert told.order is None


def only(told: Seen) -> str:
    (warning,) = told.warnings
    return warning


ASCENDING = [ago(seconds=3 * n + 1) for n in range(6, 0, -1)]


@pytest.mark.parametrize(
    ("said", "times", "says"),
    [
        ({"pager": OFFSET}, ASCENDING, "rows come ascending by at"),
        ({"pager": OFFSET}, ASCENDING[::-1], "rows come descending by at"),
        ({"pager": {**OFFSET, "order": "change_time_descending"}}, ASCENDING, "not descending"),
        ({"pager": {"type": "walk", "within_tie": {"type": "page"}}}, ASCENDING[::-1],
         "a walk needs rows ascending by at"),
    ],
)  # fmt: skip
def test_an_order_that_is_not_the_declared_one_is_told(
    said: dict[str, Any], times: list[str], says: str
) -> None:
    """Paging in an order that rows leave when they change loses others, silently."""
    assert says in only(seen(stream(**said), times))


@pytest.mark.parametrize(
    ("said", "times"),
    [
        ({"pager": OFFSET}, ASCENDING[:3]),
        ({"pager": {"type": "walk", "within_tie": {"type": "page"}}}, ASCENDING),
        ({"pager": {"type": "next_url"}}, ASCENDING),
    ],
)
def test_an_order_that_may_be_chance_or_is_right_is_not_complained_of(
    said: dict[str, Any], times: list[str]
) -> None:
    assert seen(stream(**said), times).warnings == ()


def test_rows_sorted_by_id_may_well_be_sorted_by_time_too() -> None:
    described = stream(pager=OFFSET)
    rows = [{"id": n, "at": at} for n, at in enumerate(ASCENDING)]
    assert inspect(described, page(described, rows), asked_at=NOW.timestamp(),
                   answered_at=NOW.timestamp()).warnings == ()  # fmt: skip


def test_a_tie_as_large_as_the_page_is_told_unless_it_is_the_whole() -> None:
    """A walk that does not page inside it would skip the rest of the tie."""
    tied = [ago(hours=1)] * 4
    assert "share one at" in only(seen(stream(), tied))
    assert seen(stream(), tied, total=4).warnings == ()
    assert seen(stream(), [*tied, ago(hours=2)]).warnings == ()


@pytest.mark.parametrize(
    ("newest", "least", "count"),
    [
        ("2024-03-01T15:00:00", "+03:00", 23),
        ("2024-03-01T17:29:00", "+05:30", 18),
        ("2024-03-01T06:58:00", "-05:00", 39),
        ("2024-02-20T00:00:00", None, 53),
    ],
)
def test_the_newest_time_without_a_zone_says_which_offsets_are_possible(
    newest: str, least: str | None, count: int
) -> None:
    told = seen(stream(), [newest, "2024-01-01T00:00:00"])
    assert told.zone is not None
    assert (told.zone.at_least, len(told.zone.possible)) == (least, count)
    assert "carries no zone, and none is declared" in only(told)
    assert told.unreadable_times == 2


@pytest.mark.parametrize(
    ("zone", "newest", "contradicts"),
    [
        ("UTC", "2024-03-01T15:00:00", True),
        ("America/New_York", "2024-03-01T07:02:00", False),
        ("America/New_York", "2024-03-01T07:30:00", True),
        ("Asia/Kathmandu", "2024-03-01T17:44:00", False),
    ],
)
def test_a_declared_zone_that_dates_rows_in_the_future_is_contradicted(
    zone: str, newest: str, contradicts: bool
) -> None:
    described = stream(cursor={**CURSOR, "tz": zone})
    told = seen(described, ["2024-01-01T00:00:01", newest])
    assert told.zone is not None
    assert told.zone.contradicts is contradicts
    assert (f"read in {zone} it lies in the future" in " ".join(told.warnings)) is contradicts


def test_rows_that_changed_lately_tell_what_the_oldest_page_cannot() -> None:
    """Ascending by change time, the first page is years old and allows every zone."""
    described = stream(cursor={**CURSOR, "tz": "UTC"})
    old = ["2020-01-01T00:00:00", "2020-01-02T00:00:01"]
    assert carries_zoneless_times(described, page(described, [{"id": 1, "at": old[0]}]))
    recent = page(described, [{"id": 9, "at": "2024-03-01T14:58:00"}]).rows
    told = seen(described, old, recent=recent)
    assert told.zone is not None
    assert told.zone.at_least == "+03:00"
    assert told.zone.contradicts


def test_times_with_a_zone_or_counted_from_the_epoch_are_not_asked_for_one() -> None:
    described = stream(cursor={**CURSOR, "format": "epoch_s"})
    told = seen(described, [1_700_000_000, 1_700_000_001])
    assert told.zone is None
    assert told.warnings == ()
    assert not carries_zoneless_times(stream(), page(stream(), [{"id": 1, "at": ago(hours=1)}]))
    assert not carries_zoneless_times(stream(cursor=None), page(stream(cursor=None), [{"id": 1}]))


@pytest.mark.parametrize(
    ("times", "precision", "warns"),
    [
        ([f"2024-02-0{n}T00:00:00Z" for n in range(1, 7)], "days", True),
        ([f"2024-02-01T0{n}:00:00Z" for n in range(1, 7)], "hours", True),
        ([f"2024-02-01T00:0{n}:00Z" for n in (6, 1, 3, 2, 5, 4)], "minutes", True),
        ([f"2024-02-01T00:00:0{n}Z" for n in (6, 1, 3, 2, 5, 4)], "seconds", False),
        ([f"2024-02-01T00:00:00.{n}Z" for n in (6, 1, 3, 2, 5, 4)], "milliseconds", False),
        ([f"2024-02-01T00:00:00.00000{n}Z" for n in (6, 1, 3, 2, 5)], "microseconds", False),
        ([f"2024-02-0{n}T00:00:00Z" for n in range(1, 4)], None, False),
    ],
)
def test_times_coarser_than_declared_are_told(
    times: list[str], precision: str | None, warns: bool
) -> None:
    """A filter that ticks in days hides the rows of the day it was last asked."""
    told = seen(stream(), times)
    assert told.precision == precision
    assert any("precision_seconds" in one for one in told.warnings) is warns


def test_a_page_the_source_cuts_short_is_no_end_of_the_stream() -> None:
    described = stream(pager={**OFFSET, "short_page_ends": True})
    times = [ago(minutes=9), ago(hours=9)]
    assert "every page but the first is lost" in only(seen(described, times, following=2))
    assert seen(described, times, following=0).warnings == ()
    assert seen(stream(pager=OFFSET), times, following=2).warnings == ()


@pytest.mark.parametrize(
    ("said", "total", "says"),
    [
        ({"pager": {**OFFSET, "size": 2}}, 2, "exactly the page's size"),
        ({}, 1, "fewer than came"),
        ({}, 9, "no pager asks for them"),
    ],
)
def test_a_total_that_does_not_go_together_with_the_page_is_told(
    said: dict[str, Any], total: int, says: str
) -> None:
    assert says in only(seen(stream(**said), [ago(minutes=9), ago(hours=9)], total=total))


def test_rows_that_cannot_be_trusted_are_counted() -> None:
    described = stream()
    rows = [{"id": 1, "at": ago(hours=1)}, {"id": 1, "at": ago(hours=2)}, {"at": "soon"}, "no row",
            {"id": 2, "at": "2099-01-01T00:00:00Z"}]  # fmt: skip
    told = inspect(described, page(described, rows), asked_at=NOW.timestamp(),
                   answered_at=NOW.timestamp())  # fmt: skip
    assert (told.without_id, told.repeated_ids, told.unreadable_times) == (2, 1, 2)
    assert told.in_the_future == 1
    assert ["with the key of another" in one for one in told.warnings] == [False, True]
    assert "1 row changed in the future" in told.warnings[0]


@pytest.mark.parametrize(
    ("ours", "skew"),
    [((0, 0.2), 0.0), ((1.9, 2.0), 0.0), ((-400, -399), 399.0), ((902, 903), -900.0)],
)
def test_clocks_that_differ_are_told_by_how_much(ours: tuple[float, float], skew: float) -> None:
    now = NOW.timestamp()
    told = seen(stream(), [], asked_at=now + ours[0], answered_at=now + ours[1])
    assert told.skew == skew
    assert any("s apart" in one for one in told.warnings) is (abs(skew) > 60)


def test_a_source_without_a_date_is_not_said_to_agree_with_our_clock() -> None:
    described = stream()
    told = inspect(described, page(described, [], server_time=NOW.replace(microsecond=7)),
                   asked_at=0, answered_at=0)  # fmt: skip
    assert told.skew is None
