"""Every pager, every page size: each row once and in order, whatever the server caps."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migration_assets.errors import Permanent, Transient
from migration_assets_tests.legacy.imagined_source import ImaginedSource, Rows, pulls

SIZED = {"size_param": "limit"}
PAGERS: dict[str, dict[str, Any]] = {
    "none": {"type": "none"},
    "page": {"type": "page", **SIZED},
    "page with total": {"type": "page", "total": "total", **SIZED},
    "offset": {"type": "offset"},
    "offset with total": {"type": "offset", "total": "total"},
    "offset with overlap": {"type": "offset", "overlap": 2},
    "next url": {"type": "next_url"},
    "next url from the base": {"type": "next_url", "join": "base"},
    "next url in a header": {"type": "next_url_header", "header": "Next-Page"},
    "link header": {"type": "link_header"},
    "page token": {"type": "cursor", "path": "token", "param": "at"},
    "page token with a flag": {"type": "cursor", "path": "last", "more": "more", "param": "at"},
    "page token in a header": {"type": "cursor_header", "header": "Next-Token", "param": "at"},
    "keyset": {"type": "keyset", "field": "id", "param": "after"},
}


def rows_of(count: int) -> Rows:
    return [{"shown": {"id": number}} for number in range(count)]


def keys_of(source: ImaginedSource, **stream: Any) -> list[str | None]:
    pages = pulls(source, **stream).pages("p", None, None)
    return [row.key for page in pages for row in page.rows]


def described(name: str, size: int) -> dict[str, Any]:
    pager = PAGERS[name]
    return {**pager, "size": size} if pager["type"] in ("page", "offset") else pager


@pytest.mark.parametrize("name", PAGERS)
@settings(max_examples=40, deadline=None)
@given(count=st.integers(0, 30), size=st.integers(3, 12), cap=st.integers(3, 12))
def test_every_row_comes_once_and_in_order(name: str, count: int, size: int, cap: int) -> None:
    """``cap`` is the server's own largest page: asked for more it quietly gives fewer rows."""
    if name == "none":
        cap = 100
    source = ImaginedSource(lambda: rows_of(count), cap=cap, with_total=True)
    assert keys_of(source, pager=described(name, size)) == [str(n) for n in range(count)]


@settings(max_examples=40, deadline=None)
@given(count=st.integers(0, 30), size=st.integers(1, 12))
def test_a_short_page_ends_where_the_source_promises_it(count: int, size: int) -> None:
    source = ImaginedSource(lambda: rows_of(count))
    pager = {"type": "offset", "size": size, "short_page_ends": True}
    assert keys_of(source, pager=pager) == [str(n) for n in range(count)]
    assert source.requests_made == count // size + 1


@pytest.mark.parametrize("pager", [{"type": "offset", "total": "total"}, PAGERS["link header"]])
def test_an_idle_stream_costs_one_request(pager: dict[str, Any]) -> None:
    source = ImaginedSource(list, with_total=True)
    assert keys_of(source, pager=pager) == []
    assert source.requests_made == 1


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(4, 30),
    size=st.integers(4, 9),
    overlap=st.integers(1, 3),
    when=st.integers(2, 6),
    which=st.integers(0, 29),
)
def test_a_deletion_while_paging_with_overlap_loses_no_other_row(
    count: int, size: int, overlap: int, when: int, which: int
) -> None:
    """Without the overlap one row slips from page to page unseen (measured: 10 of 1,500)."""
    source = ImaginedSource(list)

    def served() -> Rows:
        rows = rows_of(count)
        if source.requests_made >= when:
            rows = [row for row in rows if row["shown"]["id"] != which]
        return rows

    source.rows = served
    seen = set(keys_of(source, pager={"type": "offset", "size": size, "overlap": overlap}))
    assert seen | {str(which)} == {str(n) for n in range(count)} | {str(which)}


def test_rows_that_never_stand_still_are_not_called_complete() -> None:
    source = ImaginedSource(list)

    def moving() -> Rows:
        turn = source.requests_made % 12
        return rows_of(12)[turn:] + rows_of(12)[:turn]

    source.rows = moving
    with pytest.raises(Transient, match="rows moved between pages in 3 readings"):
        keys_of(source, pager={"type": "offset", "size": 4, "overlap": 2})


def test_a_total_may_be_written_as_text() -> None:
    source = ImaginedSource(lambda: rows_of(5), lies=lambda body: body.update(total="5"))
    assert len(keys_of(source, pager={"type": "offset", "size": 5, "total": "total"})) == 5
    assert source.requests_made == 1


def test_fewer_rows_than_the_total_are_not_called_complete() -> None:
    source = ImaginedSource(lambda: rows_of(5), lies=lambda body: body.update(total=12))
    with pytest.raises(Transient, match="rows moved"):
        keys_of(source, pager={"type": "offset", "total": "total"})


@pytest.mark.parametrize(
    ("pager", "says"),
    [
        ({"type": "next_url", "path": "data"}, "not an address"),
        ({"type": "cursor", "path": "data", "param": "at"}, "not a page token"),
        ({"type": "page", "total": "data"}, "no number at data"),
        ({"type": "cursor", "path": "x", "more": "more", "param": "at"}, "no token is at x"),
        ({"type": "cursor", "path": "x", "more": "data", "param": "at"}, "not true or false"),
        ({"type": "keyset", "field": "name", "param": "after"}, "nothing usable there"),
    ],
)
def test_a_pager_that_points_elsewhere_says_where(pager: dict[str, Any], says: str) -> None:
    with pytest.raises(Permanent, match=f"pulling p from https://imagined.test.*{says}"):
        keys_of(ImaginedSource(lambda: rows_of(3), cap=2), pager=pager)


def test_a_token_that_never_runs_out_ends_at_an_empty_page_if_told() -> None:
    """CouchDB's last_seq is in every answer."""
    source = ImaginedSource(lambda: rows_of(3), cap=2)
    source.lies = lambda body: body.update(token=source.requests_made * 2)
    pager = {"type": "cursor", "path": "token", "param": "at", "stop_on_empty": True}
    assert keys_of(source, pager=pager) == ["0", "1", "2"]
