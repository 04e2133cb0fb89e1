"""APIs that are asked by POST, GraphQL among them: what is placed where, and what is an error."""

from typing import Any

import orjson
import pytest

from migration_assets.errors import Permanent, Transient
from migration_assets_tests.legacy.conftest import PERSON, MakePuller, told
from migration_assets_tests.legacy.legacy_server import Asked, LegacyServer, Reply, json_reply
from migration_assets_tests.legacy.test_description import load_stream

GRAPHQL: dict[str, Any] = {
    "path": "graphql",
    "select": "data.patients.nodes",
    "method": "POST",
    "body": {
        "query": "query($first: Int, $after: String, $since: String) { patients { id } }",
        "variables": {"first": 2, "after": None},
    },
    "params": {},
    "pager": {
        "type": "cursor",
        "path": "data.patients.pageInfo.endCursor",
        "more": "data.patients.pageInfo.hasNextPage",
        "param": "variables.after",
    },
    "cursor": {"field": "updatedAt", "param": "variables.filter.since"},
    "sweep": True,  # its endCursor counts rows
}


def graphql(asked: Asked) -> Reply:
    body = orjson.loads(asked.body)
    begin = int(body["variables"]["after"] or 0)
    end = begin + body["variables"]["first"]
    nodes = [{"id": n, "updatedAt": "2024-01-01T00:00:00Z"} for n in range(5)]
    info = {"hasNextPage": end < 5, "endCursor": str(end)}
    return json_reply({"data": {"patients": {"nodes": nodes[begin:end], "pageInfo": info}}})


def test_graphql_is_paged_and_filtered_through_its_variables(
    server: LegacyServer, puller: MakePuller
) -> None:
    server.routes["/graphql"] = graphql
    one = puller(GRAPHQL)
    rows = [row for page in one.pages("patients", None, None) for row in page.rows]
    assert [row.key for row in rows] == ["0", "1", "2", "3", "4"]
    since = rows[0].changed_at
    assert len([row for page in one.pages("patients", since, None) for row in page.rows]) == 5
    first, second = (orjson.loads(asked.body)["variables"] for asked in server.asked[:2])
    assert (first["after"], second["after"]) == (None, "2")
    assert orjson.loads(server.asked[-1].body)["variables"] == {
        "first": 2,
        "after": "4",
        "filter": {"since": "2024-01-01T00:00:00Z"},
    }
    assert {asked.method for asked in server.asked} == {"POST"}
    assert all(asked.query == {} for asked in server.asked)


def test_graphql_errors_in_a_200_are_an_error(server: LegacyServer, puller: MakePuller) -> None:
    """Healthie's rate limit arrives that way; believed, it would be a page without rows."""
    server.answers(
        "/graphql",
        json_reply({"data": {"patients": {"nodes": []}}, "errors": [{"message": PERSON}]}),
    )
    with pytest.raises(Transient, match="there is an error at errors") as caught:
        next(puller(GRAPHQL).pages("patients", None, None))
    told(caught.value)


def test_a_number_is_posted_where_the_template_shows_one(
    server: LegacyServer, puller: MakePuller
) -> None:
    stream = {
        "method": "POST",
        "body": {"paging": {"start": 0, "count": 0}},
        "pager": {
            "type": "offset",
            "param": "paging.start",
            "size_param": "paging.count",
            "size": 2,
        },
    }
    server.answers("/rows", json_reply({"data": [{"id": 1}]}), json_reply({"data": []}))
    list(puller(stream).pages("patients", None, None))
    bodies = [orjson.loads(asked.body)["paging"] for asked in server.asked]
    assert bodies == [{"start": 0, "count": 2}, {"start": 1, "count": 2}]
    assert all("filter" in asked.query for asked in server.asked)  # params stay in the query


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"body": {"a": 1}}, "a GET has none"),
        ({"method": "POST", "pager": {"type": "link_header"}}, "an address does not say"),
        ({"method": "POST", "body": {"login": {"password": "x"}}}, "does not belong there"),
        (
            {"method": "POST", "body": {"a": "text"}, "pager": {"type": "offset", "param": "a.b"}},
            "leads through something that is not an object",
        ),
        (
            {
                "method": "POST",
                "cursor": {"field": "c", "param": "x", "until_param": "x"},
            },
            "two parameters go to one place",
        ),
    ],
)
def test_a_body_that_cannot_be_meant_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(Permanent, match=says):
        load_stream(**changes)
