"""Rows in parts, and rows parent by parent: each whole, under its own key, and not asked twice."""

import datetime as dt
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from migration_assets.errors import Permanent
from migration_assets.legacy.pull import Puller
from migration_assets_tests.legacy.conftest import PERSON, MakePuller, keys, told
from migration_assets_tests.legacy.legacy_server import Asked, LegacyServer, Reply, json_reply
from migration_assets_tests.legacy.test_description import load, load_stream

DETAIL = {
    "detail": "rows/{id}",
    "detail_select": "data",
    "cursor": {"field": "changed"},
}
FIRST, SECOND = "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"


def listed(*rows: tuple[str, str]) -> Reply:
    return json_reply({"data": [{"id": key, "changed": changed} for key, changed in rows]})


def detail(key: str, changed: str, **more: Any) -> Reply:
    return json_reply({"data": {"id": key, "changed": changed, **more}})


def pulled(puller: Any) -> list[tuple[str | None, Any, str | None]]:
    rows = [row for page in puller.pages("patients", None, None) for row in page.rows]
    return [(row.key, row.row.get("name"), row.problem) for row in rows]


def test_a_detail_is_fetched_once_for_each_version(
    server: LegacyServer, puller: MakePuller
) -> None:
    server.answers("/rows", listed(("a", FIRST)), listed(("a", FIRST)), listed(("a", SECOND)))
    server.answers("/rows/a", detail("a", FIRST, name="x"), detail("a", SECOND, name="y"))
    one = puller(DETAIL)
    assert [pulled(one) for _ in range(3)] == [[("a", name, None)] for name in ("x", "x", "y")]
    assert [asked.path for asked in server.asked].count("/rows/a") == 2


def test_a_detail_newer_than_its_list_is_not_kept_for_the_list_s_version(
    server: LegacyServer, puller: MakePuller
) -> None:
    server.answers("/rows", listed(("a", FIRST)))
    server.answers("/rows/a", detail("a", SECOND, name="new"))
    one = puller(DETAIL)
    assert pulled(one) == pulled(one) == [("a", "new", None)]
    assert [asked.path for asked in server.asked].count("/rows/a") == 2


class Landed:
    """A cache that keeps nothing itself: it finds the rows a pull before has brought."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str | None, dt.datetime | None], Any] = {}

    def land(self, puller: Puller) -> None:
        """Keep what is in order, as an account does."""
        for page in puller.pages("patients", None, None):
            for row in page.rows:
                if row.problem is None and not row.deleted:
                    self.rows[row.key, row.changed_at] = row.row

    def get(self, stream: str, key: str, changed_at: dt.datetime) -> Any:
        """The row as it was landed."""
        assert stream == "patients"
        return self.rows.get((key, changed_at))

    def put(self, stream: str, key: str, changed_at: dt.datetime, detail: Any) -> None:
        """It comes by being landed."""


def test_what_was_landed_is_detail_enough_for_the_next_process(
    server: LegacyServer, puller: MakePuller
) -> None:
    """Else every pull with a lookback asks again for each patient of the last hour."""
    rows = (("a", FIRST), ("b", FIRST), ("gone", FIRST), ("newer", FIRST))
    server.answers("/rows", listed(*rows), listed(*rows), listed(*rows[:3], ("newer", SECOND)))
    server.answers("/rows/a", detail("a", FIRST, name="x"))
    server.answers("/rows/b", json_reply({"data": {"id": "b", "name": "y"}}))
    server.answers("/rows/gone", json_reply({}, 404))
    server.answers("/rows/newer", detail("newer", SECOND, name="z"))
    landed = Landed()
    for _ in range(3):
        one = puller(DETAIL)
        one._details = landed
        landed.land(one)
    asked = Counter(asked.path for asked in server.asked)
    assert [asked[f"/rows/{key}"] for key in ("a", "b", "gone", "newer")] == [1, 1, 3, 2]
    assert sorted(row.get("name") for row in landed.rows.values()) == ["x", "y", "z"]


def test_a_detail_that_cannot_be_trusted_marks_its_row(
    server: LegacyServer, puller: MakePuller
) -> None:
    """A row of another person under this key would be the worst of all."""
    server.answers("/rows", listed(("gone", FIRST), ("b", FIRST), ("..", FIRST), ("c/d", FIRST)))
    server.answers("/rows/gone", json_reply({}, 404))
    server.answers("/rows/b", detail("a", FIRST))
    server.answers("/rows/c%2Fd", detail("c/d", FIRST, name="x"))
    assert pulled(puller(DETAIL)) == [
        ("gone", None, "detail-missing"),
        ("b", None, "detail-of-another"),
        ("..", None, "id-not-addressable"),
        ("c/d", "x", None),
    ]


def test_no_message_holds_the_key_of_a_detail(server: LegacyServer, puller: MakePuller) -> None:
    server.answers("/rows", listed((PERSON, FIRST)))
    server.answers(f"/rows/{PERSON}", json_reply({}, 400))
    with pytest.raises(
        Permanent, match=r"pulling details of patients from .*/rows/\{id\}"
    ) as caught:
        pulled(puller(DETAIL))
    told(caught.value)


def visits(asked: Asked) -> Reply:
    owner = asked.one("patient") or asked.path.split("/")[2]
    return json_reply({"data": [{"id": f"{owner}-1"}, {"id": f"{owner}-2"}]})


PATIENTS = {"name": "patients", "path": "rows", "select": "data", "id": "id"}


def of_patients(**visit: Any) -> list[dict[str, Any]]:
    return [PATIENTS, {"name": "visits", "select": "data", "id": "id", **visit}]


@pytest.mark.parametrize(
    "visit",
    [
        {"path": "visits", "parent": {"stream": "patients", "param": "patient"}},
        {"path": "rows/{parent}/visits", "parent": {"stream": "patients"}},
    ],
)
def test_children_are_pulled_for_every_parent_or_for_those_that_are_given(
    server: LegacyServer, puller: MakePuller, visit: dict[str, Any]
) -> None:
    server.answers("/rows", json_reply({"data": [{"id": "a"}, {"id": "b"}, {"id": None}]}))
    for path in ("/visits", "/rows/a/visits", "/rows/b/visits"):
        server.routes[path] = visits
    one = puller(streams=of_patients(**visit))
    assert keys(one, "visits") == ["a-1", "a-2", "b-1", "b-2"]
    pages = one.pages("visits", None, None, parents=["b", "b"])
    assert [(row.key, row.parent) for page in pages for row in page.rows] == [
        ("b-1", "b"),
        ("b-2", "b"),
    ]


def test_a_parent_nobody_knew_is_read_from_the_beginning(
    server: LegacyServer, puller: MakePuller
) -> None:
    """A patient who became visible today has notes of last year: no filter would ever show them."""
    changed = {"field": "changed", "param": "since"}

    def notes(asked: Asked) -> Reply:
        rows = [
            {"id": f"{asked.one('patient')}-{at[:10]}", "changed": at} for at in (FIRST, SECOND)
        ]
        return json_reply({"data": [row for row in rows if row["changed"] >= asked.one("since")]})

    server.answers("/rows", json_reply({"data": [{"id": "new"}, {"id": "old"}]}))
    server.routes["/notes"] = notes
    visit = {"path": "notes", "parent": {"stream": "patients", "param": "patient"}}
    one = puller(streams=of_patients(**visit, cursor=changed))
    since = dt.datetime(2024, 1, 2, tzinfo=dt.UTC)
    pages = one.pages("visits", since, None, known_parents=lambda key: key == "old")
    found = [row.key for page in pages for row in page.rows]
    assert found == ["new-2024-01-01", "new-2024-01-02", "old-2024-01-02"]


def test_a_parent_is_finished_with_its_last_page(server: LegacyServer, puller: MakePuller) -> None:
    """Recorded too early, what a cut left out of it would be older than its mark for good."""
    both, none = json_reply({"data": [{"id": 1}]}), json_reply({"data": []})
    server.answers("/notes", both, none, none)
    server.answers("/gone", none)
    visit = {
        "path": "notes",
        "pager": {"type": "page"},
        "parent": {"stream": "patients", "param": "patient"},
        "feeds": [{"path": "gone", "means": "deleted", "pager": {"type": "none"}}],
    }
    one = puller(streams=of_patients(**visit))
    pages = one.pages("visits", None, None, parents=["a", "b"])
    assert [page.parents for page in pages] == [(), (), ("a",), (), ("b",)]


def test_a_parent_whose_window_holds_nothing_is_finished_too(puller: MakePuller) -> None:
    windowed = {
        "field": "changed",
        "param": "since",
        "until_param": "before",
        "max_window_seconds": 86400,
        "earliest": SECOND,
    }
    visit = {"path": "notes", "parent": {"stream": "patients", "param": "p"}, "cursor": windowed}
    one = puller(streams=of_patients(**visit))
    until = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    (page,) = one.pages("visits", None, until, parents=["a", "b"])
    assert (page.rows, page.parents) == ((), ("a", "b"))


def test_without_parents_there_is_one_empty_page_and_no_request(
    server: LegacyServer, puller: MakePuller
) -> None:
    one = puller(streams=of_patients(path="v", parent={"stream": "patients", "param": "p"}))
    (page,) = one.pages("visits", None, None, parents=[])
    assert page.rows == ()
    assert server.asked == []


def test_a_source_without_a_list_of_all_is_read_by_a_list_of_ids(
    server: LegacyServer, puller: MakePuller, tmp_path: Path
) -> None:
    """OpenMRS has no list of all patients: their ids come from a report or the database."""
    ids = tmp_path / "ids.txt"
    ids.write_text("\ufeffa\n\n b \na\n", encoding="utf-8")
    server.routes["/visits"] = visits
    parent = {"ids_file": str(ids), "param": "patient"}
    one = puller(streams=of_patients(path="visits", parent=parent))
    assert keys(one, "visits") == ["a-1", "a-2", "b-1", "b-2"]
    ids.unlink()
    with pytest.raises(Permanent, match="its id list"):
        keys(one, "visits")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"detail": "patients"}, "exactly once"),
        ({"detail": "../{id}"}, "stay below it"),
        ({"path": "a/{parent}"}, "where the keys come from"),
        ({"parent": {"param": "p"}}, "either stream or ids_file"),
        ({"parent": {"stream": "x"}}, "into path as {parent}"),
    ],
)
def test_a_detail_or_parent_that_cannot_be_meant_is_refused(
    changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(Permanent, match=says):
        load_stream(**changes)


def test_a_stream_that_is_its_own_parent_is_refused() -> None:
    own = {"name": "a", "path": "a", "id": "id", "parent": {"stream": "a", "param": "p"}}
    with pytest.raises(Permanent, match="its own parent"):
        load(streams=[own])
