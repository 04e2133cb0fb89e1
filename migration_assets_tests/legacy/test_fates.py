"""Deleted, archived, merged, without a change time: each arrives as what it is."""

import datetime as dt
from typing import Any

import pytest

from migration_assets.errors import Permanent
from migration_assets.legacy.description import Stream
from migration_assets.legacy.rows import PulledRow, row_reader
from migration_assets_tests.legacy.conftest import MakePuller
from migration_assets_tests.legacy.legacy_server import LegacyServer, json_reply
from migration_assets_tests.legacy.test_description import load_stream

FIRST, SECOND = "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"


def read(row: Any, **stream: Any) -> PulledRow:
    return row_reader(Stream.model_validate({"name": "p", "path": "p", "id": "id", **stream}))(row)


@pytest.mark.parametrize(
    ("row", "merged_into", "problem"),
    [
        ({"id": 1, "merged": 2}, "2", None),
        ({"id": 1, "merged": "P2"}, "P2", None),
        ({"id": 1, "merged": None}, None, None),
        ({"id": 1, "merged": False}, None, None),
        ({"id": 1}, None, None),
        ({"id": 1, "merged": {"id": 2}}, None, "merge-target-unreadable"),
    ],
)
def test_a_merge_names_the_row_that_stands_for_this_one(
    row: dict[str, Any], merged_into: str | None, problem: str | None
) -> None:
    found = read(row, merged_into="merged")
    assert (found.merged_into, found.problem) == (merged_into, problem)


def test_archived_is_not_deleted() -> None:
    found = read({"id": 1, "archived_at": FIRST}, archived={"path": "archived_at"})
    assert (found.archived, found.deleted) == (True, False)
    assert not read({"id": 1}, archived={"path": "archived_at"}).archived


@pytest.mark.parametrize(
    ("policy", "value", "problem"),
    [
        ("mark", None, "change-time-unreadable"),
        ("keep", None, None),
        ("keep", "", None),
        ("keep", "yesterday", "change-time-unreadable"),
    ],
)
def test_a_row_without_a_change_time_is_marked_or_kept_as_told(
    policy: str, value: str | None, problem: str | None
) -> None:
    found = read({"id": 1, "changed": value}, cursor={"field": "changed", "on_null": policy})
    assert (found.changed_at, found.problem) == (None, problem)


def test_the_fields_that_say_nothing_travel_with_the_row() -> None:
    assert read({"id": 1, "seen": FIRST}, volatile=["seen"]).volatile == ("seen",)
    assert read({"id": 1, "seen": FIRST}, volatile=["seen"]).row == {"id": 1, "seen": FIRST}


def test_deletions_and_archives_of_other_paths_belong_to_the_stream(
    server: LegacyServer, puller: MakePuller
) -> None:
    """Never seen, a deletion would leave a patient in Medplum for good."""
    server.answers("/rows", json_reply({"data": [{"id": 1, "updated_at": SECOND}]}))
    gone = [{"id": 2, "deleted_at": SECOND}, {"id": 3, "deleted_at": FIRST}]
    server.answers("/rows/deleted", json_reply({"gone": gone}))
    server.answers("/rows/archived", json_reply({"data": [{"id": 4, "updated_at": SECOND}]}))
    deleted = {
        "path": "rows/deleted",
        "means": "deleted",
        "select": "gone",
        "cursor": {"field": "deleted_at", "param": "deleted_since"},
    }
    one = puller(
        {
            "cursor": {"field": "updated_at", "param": "since"},
            "require": "data",
            "feeds": [{**deleted, "require": []}, {"path": "rows/archived", "means": "archived"}],
        }
    )
    since = dt.datetime(2024, 1, 2, tzinfo=dt.UTC)
    rows = [row for page in one.pages("patients", since, None) for row in page.rows]
    assert [(row.key, row.deleted, row.archived, row.problem) for row in rows] == [
        ("1", False, False, None),
        ("2", True, False, None),
        ("4", False, True, None),
    ]
    assert [asked.one("deleted_since") for asked in server.asked] == ["", SECOND, ""]


def test_a_feed_that_cannot_be_pulled_is_refused_when_loaded() -> None:
    feed = {
        "path": "gone",
        "means": "deleted",
        "pager": {"type": "walk", "within_tie": {"type": "page"}},
    }
    with pytest.raises(Permanent, match="a walk asks for what changed"):
        load_stream(feeds=[feed])
