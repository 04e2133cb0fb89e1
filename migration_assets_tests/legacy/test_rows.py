"""A row is read without being changed; what is wrong with it is a code, and no row is dropped."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migration_assets.legacy.description import Stream
from migration_assets.legacy.rows import ABSENT, row_reader, value_at
from migration_assets_tests.legacy.conftest import MakePuller, keys
from migration_assets_tests.legacy.legacy_server import LegacyServer, Reply, json_reply


def read(row: Any, **stream: Any) -> tuple[str | None, str | None]:
    described = Stream.model_validate({"name": "p", "path": "p", "id": "id", **stream})
    found = row_reader(described)(row)
    assert found.row is row
    return found.key, found.problem


@pytest.mark.parametrize(
    ("row", "key", "problem"),
    [
        ({"id": "P001"}, "P001", None),
        ({"id": " P001"}, " P001", None),
        ({"id": 17}, "17", None),
        ({"id": 0}, "0", None),
        ({"id": ""}, None, "id-missing"),
        ({"id": " \t"}, None, "id-missing"),
        ({"id": None}, None, "id-missing"),
        ({}, None, "id-missing"),
        ({"id": True}, None, "id-not-scalar"),
        ({"id": 1.0}, None, "id-not-scalar"),
        ({"id": ["P001"]}, None, "id-not-scalar"),
        ({"id": {"value": 1}}, None, "id-not-scalar"),
        ("P001", None, "not-an-object"),
        (None, None, "not-an-object"),
        ([{"id": 1}], None, "not-an-object"),
    ],
)
def test_a_key_is_taken_or_the_row_says_why_not(
    row: Any, key: str | None, problem: str | None
) -> None:
    assert read(row) == (key, problem)


parts = st.lists(
    st.text(min_size=1).filter(lambda text: not text.isspace()), min_size=2, max_size=2
)


@given(parts, parts)
def test_keys_of_several_parts_never_fall_together(one: list[str], two: list[str]) -> None:
    """Joined with a separator, ("a-b", "c") and ("a", "b-c") would be one record."""
    keys_of = [read({"x": {"y": a}, "z": b}, id=["x.y", "z"])[0] for a, b in (one, two)]
    assert (keys_of[0] == keys_of[1]) == (one == two)


def test_a_key_with_a_missing_part_is_missing() -> None:
    assert read({"a": 1}, id=["a", "b"]) == (None, "id-missing")
    assert read({"a": 1, "b": 2}, id=["a", "b"]) == ('["1","2"]', None)


@pytest.mark.parametrize(
    ("tombstone", "row", "deleted"),
    [
        ({"path": "gone"}, {"gone": "2024-01-01"}, True),
        ({"path": "gone"}, {"gone": None}, False),
        ({"path": "gone"}, {}, False),
        ({"path": "active", "truthy": False}, {"active": False}, True),
        ({"path": "active", "truthy": False}, {"active": True}, False),
    ],
)
def test_a_tombstone_is_a_deletion(
    tombstone: dict[str, Any], row: dict[str, Any], *, deleted: bool
) -> None:
    stream = Stream.model_validate({"name": "p", "path": "p", "id": "id", "tombstone": tombstone})
    assert row_reader(stream)({"id": 1, **row}).deleted is deleted


def test_dotted_paths_lead_through_objects_and_lists() -> None:
    body = {"a": [{"b": None}], "c.d": 1}
    assert value_at(body, "$") is body
    assert value_at(body, "a.0.b") is None
    assert value_at(body, "a.1.b") is ABSENT
    assert value_at(body, "a.x") is ABSENT
    assert value_at(body, "a.0.b.c") is ABSENT


def problems(server: LegacyServer, puller: MakePuller, body: bytes) -> list[str | None]:
    server.answers("/rows", Reply(body))
    (page,) = puller().pages("patients", None, None)
    return [row.problem for row in page.rows]


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (b'{"id": 2, "name": "M\xfcller"}', "invalid-utf8"),
        (b'{"id": 2, "deep": [{"\xff": 1}]}', "invalid-utf8"),
        (b'{"id": 2, "name": "\\ud800"}', "invalid-utf8"),
        (b'{"id": 2, "weight": NaN}', "number-not-json"),
        (b'{"id": 2, "weight": [-Infinity]}', "number-not-json"),
        (b'"\xff"', "not-an-object"),
    ],
)
def test_broken_bytes_cost_only_the_row_that_holds_them(
    server: LegacyServer, puller: MakePuller, bad: bytes, problem: str
) -> None:
    good = '{"id": 1, "name": "Müller"}'.encode()
    body = b'{"data": [' + good + b"," + bad + b"," + good.replace(b"1", b"3") + b"]}"
    assert problems(server, puller, body) == [None, problem, None]


def test_a_key_of_broken_bytes_is_no_key(server: LegacyServer, puller: MakePuller) -> None:
    server.answers("/rows", Reply(b'{"data": [{"id": "\xff"}, {"id": "\xc3\xbc"}]}'))
    assert keys(puller()) == [None, "ü"]
    assert keys(puller({"id": ["id", "id"]})) == [None, '["ü","ü"]']


@pytest.mark.parametrize("key", [2**63, 2**64, 10**24 + 1, -(2**63) - 1])
def test_a_long_number_is_not_rounded(server: LegacyServer, puller: MakePuller, key: int) -> None:
    """Rounded to a double, two records' ids would be one."""
    server.answers("/rows", Reply(b'{"data": [{"id": %d}, {"id": "%d"}]}' % (key, key + 1)))
    assert keys(puller()) == [str(key), str(key + 1)]


def test_a_mark_before_the_json_is_ignored(server: LegacyServer, puller: MakePuller) -> None:
    server.answers("/rows", Reply(b'\xef\xbb\xbf{"data": [{"id": 1}]}'))
    assert keys(puller()) == ["1"]


def test_a_row_of_twenty_megabytes_passes(server: LegacyServer, puller: MakePuller) -> None:
    server.answers("/rows", json_reply({"data": [{"id": 1, "scan": "x" * 20_000_000}]}))
    assert keys(puller()) == ["1"]
