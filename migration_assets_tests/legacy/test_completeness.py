"""A sweep's reading is whole or says that it is not: no row is called absent for slipping away."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migration_assets.errors import Permanent, Transient
from migration_assets.legacy.completeness import proves_itself
from migration_assets.legacy.description.paging import NextUrl, OffsetPages
from migration_assets_tests.legacy.conftest import MakePuller
from migration_assets_tests.legacy.imagined_source import ImaginedSource, Rows, pulls
from migration_assets_tests.legacy.legacy_server import LegacyServer, json_reply
from migration_assets_tests.legacy.test_details_and_parents import DETAIL, detail, listed
from migration_assets_tests.legacy.test_details_and_parents import FIRST as CHANGED
from migration_assets_tests.legacy.test_pagers import PAGERS, described, rows_of
from migration_assets_tests.legacy.test_splitting import CUT, START, capped
from migration_assets_tests.legacy.test_walk import CURSOR, INSIDE, clinic

KEYSET = {**PAGERS["link header"], "keyset": True}
LINKS, PAGES = PAGERS["link header"], PAGERS["page"]


def whole(source: ImaginedSource, **stream: Any) -> set[str | None]:
    pages = pulls(source, **stream).pages("p", None, None, whole=True)
    return {row.key for page in pages for row in page.rows}


def served(source: ImaginedSource, keys: Callable[[int], list[int]]) -> None:
    """Serve these keys, by the number of the request."""
    source.rows = lambda: [{"shown": {"id": key}} for key in keys(source.requests_made)]


@pytest.mark.parametrize("name", [*PAGERS, "fixed", "fixed with total", "fixed with overlap"])
@settings(max_examples=120, deadline=None)
@given(
    count=st.integers(0, 20),
    gone=st.dictionaries(st.integers(0, 19), st.integers(1, 14), max_size=4),
    new=st.lists(st.integers(1, 14), max_size=3),
)
def test_no_row_that_is_there_all_the_time_is_missing_from_a_whole_reading(
    name: str, count: int, gone: dict[int, int], new: list[int]
) -> None:
    """People delete and add while it is read; what is left out then may never be called absent."""
    fixed: dict[str, Any] = {"type": "offset", "order": "fixed"}
    pager = {
        "fixed": fixed,
        "fixed with overlap": {**fixed, "overlap": 1},
        "fixed with total": {**fixed, "total": "total"},
    }.get(name)
    cap = 100 if name == "none" else 3
    source = ImaginedSource(list, cap=cap, with_total=True)
    served(
        source,
        lambda request: [
            *(key for key in range(count) if gone.get(key, 99) > request),
            *(100 + number for number, when in enumerate(sorted(new)) if when <= request),
        ],
    )
    if name == "fixed with total" and gone and new:
        return  # a deletion and an addition between two pages leave the total as it was
    try:
        seen = whole(source, pager={**pager, "size": 3} if pager else described(name, 3))
    except Transient:
        return
    assert seen >= {str(key) for key in range(count) if key not in gone}


def test_page_numbers_lose_a_row_that_a_whole_reading_finds() -> None:
    """The harm itself, so that the test above cannot pass for want of any."""
    for whole_reading, expected in ((False, 11), (True, 12)):
        source = ImaginedSource(list, cap=3)
        served(source, lambda n: [key for key in range(12) if key != 1 or n < 2])
        pages = pulls(source, pager=PAGES).pages("p", None, None, whole=whole_reading)
        assert len({row.key for page in pages for row in page.rows}) == expected


def test_rows_that_are_deleted_all_the_time_prove_nothing() -> None:
    source = ImaginedSource(list, cap=3)
    served(source, lambda request: list(range(request, 40)))
    with pytest.raises(Transient, match="rows moved between pages in 4 readings"):
        whole(source, pager=PAGES)


@pytest.mark.parametrize(
    ("pager", "requests"),
    [
        (LINKS, 8),
        (KEYSET, 4),
        (PAGES, 10),
        (PAGERS["keyset"], 5),
        ({"type": "offset", "order": "fixed", "size": 3, "total": "total"}, 4),
        ({"type": "offset", "order": "fixed", "size": 3}, 10),
        ({"type": "offset", "order": "fixed", "size": 4, "overlap": 1, "total": "total"}, 6),
        ({"type": "offset", "size": 3, "total": "total"}, 8),
    ],
)
def test_only_paging_that_proves_nothing_is_read_twice(
    pager: dict[str, Any], requests: int
) -> None:
    source = ImaginedSource(lambda: rows_of(12), cap=3, with_total=True)
    assert len(whole(source, pager=pager)) == 12
    assert source.requests_made == requests


def test_one_answer_that_held_everything_is_read_once() -> None:
    source = ImaginedSource(lambda: rows_of(2), cap=3)
    assert len(whole(source, pager=LINKS)) == 2
    assert source.requests_made == 1


@pytest.mark.parametrize("total", ["meta.count", {"header": "X-Total-Count"}])
def test_a_total_is_told_with_every_page_that_has_one(
    server: LegacyServer, puller: MakePuller, total: Any
) -> None:
    first = {"data": [{"id": 1}], "meta": {"count": "2"}, "next": "?page=2"}
    server.answers(
        "/rows",
        json_reply(first, X_Total_Count="2"),
        json_reply({"data": [{"id": 2}], "meta": {}}),
    )
    pages = puller({"pager": {"type": "next_url"}, "total": total}).pages("patients", None, None)
    assert [page.total for page in pages] == [2, None]


def test_a_total_that_is_not_where_it_is_described_is_told() -> None:
    with pytest.raises(Permanent, match="total: there is no number at count in the answer"):
        whole(ImaginedSource(lambda: rows_of(3)), total="count")
    with pytest.raises(Permanent, match="no number at header X-Total-Count"):
        whole(ImaginedSource(lambda: rows_of(3)), total={"header": "X-Total-Count"})


@pytest.mark.parametrize("whole_reading", [True, False])
def test_fewer_rows_than_there_are_make_no_complete_reading(whole_reading: bool) -> None:
    """A server that shows 100 of 5,000 rows and says so must not have 4,900 rows called deleted."""
    source = ImaginedSource(lambda: rows_of(5), lies=lambda body: body.update(total=9))
    pages = pulls(source, total="total").pages("p", None, None, whole=whole_reading)
    with pytest.raises(Transient, match="it counts 9 rows, and 4 of them did not come"):
        list(pages)


def test_a_row_that_a_repeated_one_displaced_is_read_after_all() -> None:
    """A new row at the top pushes one down that comes twice; a moved one does not come at all."""
    orders = [[0, 1, 2, 3, 4, 5], [5, 0, 1, 2, 3, 4]]
    source = ImaginedSource(list, cap=3, with_total=True)
    served(source, lambda request: orders[request > 1])
    pages = pulls(source, pager=LINKS, total="total").pages("p", None, None)
    assert {row.key for page in pages for row in page.rows} == {str(key) for key in range(6)}
    assert source.requests_made == 4


def test_a_total_that_falls_while_it_is_counted_shows_that_rows_moved() -> None:
    source = ImaginedSource(list, cap=3, with_total=True)
    served(source, lambda request: [key for key in range(9) if key != 1 or request < 2])
    pages = pulls(source, pager=LINKS, total="total").pages("p", None, None)
    assert {row.key for page in pages for row in page.rows} == {str(key) for key in range(9)}


def test_a_row_that_is_always_listed_twice_stops_nothing() -> None:
    source = ImaginedSource(list, cap=3, with_total=True)
    served(source, lambda _: [1, 2, 3, 4, 4, 5])
    for whole_reading in (True, False):
        pages = pulls(source, pager=LINKS, total="total").pages(
            "p", None, None, whole=whole_reading
        )
        assert {row.key for page in pages for row in page.rows} == set("12345")


def test_a_total_of_all_rows_does_not_stop_a_window() -> None:
    """Some sources count every row whatever the filter says."""
    source = ImaginedSource(
        lambda: [{"shown": {"id": 1, "changed": "2024-01-01T00:00:00Z"}}],
        lies=lambda body: body.update(total=5_000),
    )
    puller = pulls(source, total="total", cursor={"field": "changed", "param": "since"})
    (page,) = puller.pages("p", START, None)
    assert page.total == 5_000


@pytest.mark.parametrize(("status", "fate"), [(404, Permanent), (503, Transient)])
def test_a_status_that_is_skipped_is_no_proof_that_there_are_no_rows(
    server: LegacyServer, puller: MakePuller, status: int, fate: type[Exception]
) -> None:
    """A wrong path answers 404 too, and all patients would be called deleted."""
    server.answers("/rows", json_reply({}, status))
    one = puller(http={"on_status": [{"status": [status], "action": "skip"}]})
    assert [page.rows for page in one.pages("patients", None, None)] == [()]
    with pytest.raises(fate, match="nothing is concluded from it"):
        list(one.pages("patients", None, None, whole=True))


def test_a_second_pass_asks_for_no_detail_again(server: LegacyServer, puller: MakePuller) -> None:
    """A detail without a change time is in no cache: a sweep of 100,000 rows would cost as many."""
    first, last = listed(("a", CHANGED)), listed(("b", CHANGED))
    empty = json_reply({"data": []})
    server.answers("/rows", first, last, empty, first, last, empty)
    server.answers("/rows/a", detail("a", CHANGED))
    server.answers("/rows/b", detail("b", CHANGED))
    one = puller({**DETAIL, "cursor": None, "pager": {"type": "page"}})
    pages = one.pages("patients", None, None, whole=True)
    assert [row.key for page in pages for row in page.rows] == ["a", "b"]
    assert [asked.path for asked in server.asked].count("/rows/a") == 1


def test_a_second_pass_does_not_reach_the_cap() -> None:
    """Counted twice, three rows of a tick would be taken for five of which some are cut off."""
    source = capped([5, 5, 5], 5)
    source.cap = 2
    puller = pulls(
        source,
        cursor={**CUT, "cap": 5},
        pager={"type": "page", "size_param": "limit", "order": "fixed"},
        sweep=True,
    )
    until = START + dt.timedelta(days=1)
    pages = list(puller.pages("p", START, until, whole=True))
    assert {row.key for page in pages for row in page.rows} == {"0", "1", "2"}
    assert {page.read_until for page in pages} == {None}


def test_rows_without_a_key_are_counted_too() -> None:
    def served_rows() -> Rows:
        nameless = source.requests_made < 3
        return [{"shown": {"id": key}} for key in (1, 2, 3)] + [{"shown": {}}] * nameless

    source = ImaginedSource(served_rows, cap=2)
    assert whole(source, pager=LINKS) == {"1", "2", "3", None}
    assert source.requests_made == 6


@pytest.mark.parametrize("whole_reading", [True, False])
def test_children_are_whole_only_if_their_parents_are(
    server: LegacyServer, puller: MakePuller, whole_reading: bool
) -> None:
    """A patient who slips from the list takes all notes along."""
    number, empty = json_reply({"data": [{"id": "a"}]}), json_reply({"data": []})
    both = json_reply({"data": [{"id": "a"}, {"id": "b"}]})
    server.answers("/rows", number, empty, both, empty, both, empty)
    server.routes["/notes"] = lambda asked: json_reply({"data": [{"id": asked.one("patient")}]})
    patients = {"name": "patients", "path": "rows", "pager": {"type": "page"}}
    notes = {"name": "notes", "path": "notes", "parent": {"stream": "patients", "param": "patient"}}
    one = puller(defaults={"select": "data", "id": "id"}, streams=[patients, notes])
    pages = one.pages("notes", None, None, whole=whole_reading)
    keys = [row.key for page in pages for row in page.rows]
    assert keys == (["a", "b"] if whole_reading else ["a"])


@pytest.mark.parametrize(("whole_reading", "readings"), [(True, 2), (False, 1)])
def test_a_walk_of_hours_does_not_begin_again_for_a_deletion(
    whole_reading: bool, readings: int
) -> None:
    seconds = {key: key for key in range(30)}
    source = clinic(seconds)
    serve = source.rows

    def while_people_work() -> Rows:
        if source.requests_made >= 3:
            seconds.pop(20, None)
        return serve()

    source.rows = while_people_work
    pager = {"type": "walk", "within_tie": INSIDE["pages, total"]}
    pages = pulls(source, pager=pager, cursor=CURSOR).pages("p", None, None, whole=whole_reading)
    assert len({row.key for page in pages for row in page.rows}) == 29
    assert sum("since" not in query for query in source.queries) == readings


def test_a_walk_that_is_not_shown_every_row_is_not_whole() -> None:
    """Rows without a change time come in no step that asks for changes since a time."""
    source = clinic({key: key for key in range(9)})
    source.lies = lambda body: body.update(total=3 if "since" in source.queries[-1] else 12)
    pager = {"type": "walk", "within_tie": {"type": "link_header"}}
    puller = pulls(source, pager=pager, cursor=CURSOR, total="total")
    with pytest.raises(Transient, match="it counts 12 rows, and 3 of them did not come"):
        list(puller.pages("p", None, None, whole=True))


def test_what_proves_itself_is_said_by_the_description() -> None:
    assert not proves_itself(NextUrl(type="next_url"))
    assert proves_itself(NextUrl(type="next_url", keyset=True))
    assert not proves_itself(OffsetPages(type="offset", overlap=3))
    assert proves_itself(OffsetPages(type="offset", overlap=3, order="fixed"))
