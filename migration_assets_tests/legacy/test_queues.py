"""Queue feeds: what is refused when loaded, what is sent, and what is told to the source."""

import datetime as dt
from typing import Any

import orjson
import pytest

from migration_assets.errors import Permanent, Transient
from migration_assets.legacy.pull import Puller
from migration_assets.legacy.rows import PulledRow
from migration_assets_tests.legacy.conftest import PERSON, MakePuller, VirtualTime, told
from migration_assets_tests.legacy.legacy_server import Asked, LegacyServer, Reply, json_reply

MARK = dt.datetime(2023, 11, 14, 12, tzinfo=dt.UTC)

CONSUMED: dict[str, Any] = {
    "type": "consume",
    "peek": {"keep": "true"},
    "take": {"keep": "false"},
    "reread": {"param": "since"},
}
TOLD: dict[str, Any] = {"type": "acknowledge", "path": "ack", "event": "event", "ids": "events"}
OFFSET = {"type": "offset", "size": 2}


def pulled(puller: Puller, since: dt.datetime | None = None) -> list[PulledRow]:
    """Every row of a pull read to its end."""
    return [row for page in puller.pages("patients", since, None) for row in page.rows]


def acknowledged(puller: Puller) -> list[PulledRow]:
    """Rows that came with marking the last pull as read."""
    return [row for page in puller.acknowledge("patients") for row in page.rows]


@pytest.mark.parametrize(
    ("stream", "says"),
    [
        ({"queue": {**CONSUMED, "reread": None}}, "lost for good; if the source cannot show"),
        ({"queue": {**CONSUMED, "peek": {"keep": "false"}}}, "peek and take are the same"),
        ({"queue": {**CONSUMED, "peek": {}}}, "queue.consume.peek"),
        (
            {"queue": {**CONSUMED, "reread": {"param": "s", "format": "%H"}}},
            "carries no zone",
        ),
        (
            {
                "queue": {
                    **CONSUMED,
                    "reread": {"param": "s", "tz": "Europe/Berlin", "lookback_seconds": 60},
                }
            },
            "rows of the repeated hour would be lost",
        ),
        ({"queue": CONSUMED, "cursor": {"field": "at"}}, "cursor does not go with it"),
        ({"queue": CONSUMED, "sweep": True}, "sweep does not go with it: .* are not gone"),
        ({"queue": CONSUMED, "feeds": [{"path": "x", "means": "deleted"}]}, "feeds does not"),
        ({"queue": CONSUMED, "parent": {"stream": "p", "param": "q"}}, "parent does not"),
        ({"queue": CONSUMED, "method": "POST"}, "peeked at and taken from by GET"),
        (
            {"queue": {**CONSUMED, "take": {"limit": "1"}}, "pager": OFFSET},
            "a parameter of the pager also stands in queue",
        ),
        ({"queue": {**TOLD, "event": "id"}}, "is the row's own id: .* unseen"),
        ({"queue": {**TOLD, "ids": None}}, "go into path as {event}, or into body"),
        ({"queue": {**TOLD, "path": "ack/{event}"}}, "go into path as {event}, or into body"),
        ({"queue": {**TOLD, "path": "https://other/"}}, "stay below it"),
        ({"queue": {**TOLD, "ids": "a.b", "body": {"a": 1}}}, "is not an object"),
        ({"queue": {"type": "kafka"}}, "type should be one of"),
    ],
)
def test_a_queue_that_would_lose_rows_is_refused_with_what_would_be_lost(
    puller: MakePuller, stream: dict[str, Any], says: str
) -> None:
    with pytest.raises(Permanent, match=says):
        puller(stream)


def test_the_row_s_own_id_may_name_an_event_where_a_person_says_why(puller: MakePuller) -> None:
    puller({"queue": {**TOLD, "event": "id", "accepted_loss": "rows never change"}})


def page(*rows: dict[str, Any]) -> Reply:
    return json_reply({"data": list(rows)}, Date="Tue, 14 Nov 2023 22:14:00 GMT")


def test_a_pull_reads_again_what_was_marked_since_then_peeks(
    server: LegacyServer, puller: MakePuller
) -> None:
    def rows(asked: Asked) -> Reply:
        assert asked.one("keep") == "true"
        return page({"id": 1} if "since" in asked.query else {"id": 2})

    server.routes["/rows"] = rows
    one = puller({"queue": CONSUMED})
    assert [row.key for row in pulled(one, MARK)] == ["1", "2"]
    assert [asked.one("since") for asked in server.asked] == ["2023-11-14T11:00:00Z", ""]


def test_the_mark_may_move_to_the_first_answer_of_a_pull(
    server: LegacyServer, puller: MakePuller
) -> None:
    """All that was marked as read before then has come; what is taken is taken later."""
    server.answers("/rows", page())
    marks = [page.read_until for page in puller({"queue": CONSUMED}).pages("patients", MARK, None)]
    assert marks == [None, dt.datetime(2023, 11, 14, 22, 14, tzinfo=dt.UTC)]


def test_the_mark_does_not_move_beyond_what_was_asked_for(
    server: LegacyServer, puller: MakePuller, time: VirtualTime
) -> None:
    """Our clock is a day slow, and the source was asked only up to an hour after it."""
    time.now -= 86_400
    server.answers("/rows", page())
    queue = {**CONSUMED, "reread": {"param": "since", "until_param": "until"}}
    *_, last = puller({"queue": queue}).pages("patients", MARK, None)
    assert last.read_until == dt.datetime.fromtimestamp(time.now + 3600, dt.UTC)
    assert server.asked[0].one("until") == "2023-11-13T23:13:20Z"


@pytest.mark.parametrize(
    ("pager", "sent"),
    [
        ({"type": "none"}, [{}]),
        (OFFSET, [{"limit": ["2"], "offset": ["0"]}, {"limit": ["1"], "offset": ["0"]}]),
        (
            {"type": "page", "size_param": "n", "size": 2},
            [{"n": ["2"], "page": ["1"]}, {"n": ["1"], "page": ["1"]}],
        ),
        (
            {"type": "keyset", "field": "id", "param": "after", "size_param": "n", "size": 2},
            [{"n": ["2"]}, {"n": ["1"]}],
        ),
    ],
)
def test_rows_are_taken_from_the_head_and_no_more_than_were_peeked(
    server: LegacyServer, puller: MakePuller, pager: dict[str, Any], sent: list[Any]
) -> None:
    unread = [{"id": n} for n in range(3)]

    def rows(asked: Asked) -> Reply:
        size = int(asked.one("limit") or asked.one("n") or 9)
        begin = int(asked.one("offset", "0")) + int(asked.one("after", "-1")) + 1
        begin += (int(asked.one("page", "1")) - 1) * size
        shown = unread[begin : begin + size]
        if asked.one("keep") == "false":
            del unread[begin : begin + size]
        return page(*shown)

    server.routes["/rows"] = rows
    one = puller({"queue": CONSUMED, "pager": pager})
    assert [row.key for row in pulled(one)] == ["0", "1", "2"]
    assert len(unread) == 3
    unread.append({"id": 3})
    assert [row.key for row in acknowledged(one)] == (["3"] if pager == {"type": "none"} else [])
    takes = [
        {name: values for name, values in asked.query.items() if name not in ("keep", "filter")}
        for asked in server.asked
        if asked.one("keep") == "false"
    ]
    assert takes == sent


def test_what_is_taken_and_was_not_handed_out_is_handed_out(
    server: LegacyServer, puller: MakePuller
) -> None:
    """The source moved a changed row, or takes more than it was asked to."""
    server.routes["/rows"] = lambda asked: page(
        {"id": 1, "v": 1 if asked.one("keep") == "true" else 2}
    )
    one = puller({"queue": CONSUMED})
    assert [row.row["v"] for row in pulled(one)] == [1]
    assert [row.row["v"] for row in acknowledged(one)] == [2]


@pytest.mark.parametrize("queue", [CONSUMED, TOLD])
def test_nothing_is_marked_unless_a_pull_was_read_to_its_end(
    server: LegacyServer, puller: MakePuller, queue: dict[str, Any]
) -> None:
    server.answers("/rows", page({"id": 1, "event": 7}))
    one = puller({"queue": queue})
    one.first_page("patients")
    assert acknowledged(one) == []
    assert [page.rows for page in one.pages("patients", None, MARK)]
    assert acknowledged(one) == []
    pulled(one)
    next(one.pages("patients", MARK, None))
    assert acknowledged(one) == []
    assert {asked.one("keep", "true") for asked in server.asked} == {"true"}
    assert {asked.path for asked in server.asked} == {"/rows"}


def test_a_stream_without_a_queue_has_nothing_to_mark(
    server: LegacyServer, puller: MakePuller
) -> None:
    server.answers("/rows", page({"id": 1}))
    one = puller()
    pulled(one)
    assert acknowledged(one) == []
    assert len(server.asked) == 1


def test_the_rows_handed_out_are_told_in_batches_and_no_others(
    server: LegacyServer, puller: MakePuller
) -> None:
    events = [11, "twelve", 13, 13, None, "", True, {"a": PERSON}, 14]
    rows = [{"id": n, "event": event} for n, event in enumerate(events)]
    server.answers("/rows", page(*rows, {"id": 99}))
    server.answers("/p/ack", Reply(b"", 204), Reply(b"<html>", 200), Reply(b"", 202))
    queue = {
        **TOLD,
        "path": "p/ack",
        "method": "PUT",
        "ids": "read.events",
        "body": {"read": {"by": "us"}},
        "size": 2,
    }
    one = puller({"queue": queue})
    assert len(pulled(one)) == 10
    assert len(server.asked) == 1
    assert acknowledged(one) == []
    sent = [orjson.loads(asked.body) for asked in server.asked[1:]]
    assert sent == [
        {"read": {"by": "us", "events": [11, "twelve"]}},
        {"read": {"by": "us", "events": [13, 14]}},
    ]
    assert {asked.method for asked in server.asked[1:]} == {"PUT"}
    assert server.asked[1].headers["Authorization"].startswith("Bearer")
    assert acknowledged(one) == []
    assert len(server.asked) == 3


def test_events_may_be_told_one_by_one(server: LegacyServer, puller: MakePuller) -> None:
    """One that is gone was told before, and the answer was lost."""
    server.answers("/rows", page(*({"id": n, "event": e} for n, e in enumerate(["a/b", "..", 3]))))
    server.answers("/events/a%2Fb", Reply(b"", 404))
    server.answers("/events/3", Reply(b"", 503), Reply(b"", 200))
    queue = {**TOLD, "path": "events/{event}", "method": "DELETE", "ids": None}
    one = puller({"queue": queue})
    pulled(one)
    assert acknowledged(one) == []
    assert [asked.path for asked in server.asked[1:]] == ["/events/a%2Fb", "/events/3", "/events/3"]
    assert {asked.body for asked in server.asked} == {b""}


def test_the_list_may_be_the_whole_body(server: LegacyServer, puller: MakePuller) -> None:
    server.answers("/rows", page({"id": 1, "event": 7}))
    server.answers("/ack", Reply(b"", 201))
    one = puller({"queue": {**TOLD, "ids": "$"}})
    pulled(one)
    acknowledged(one)
    assert orjson.loads(server.asked[1].body) == [7]


@pytest.mark.parametrize(
    ("reply", "fate", "says"),
    [
        (Reply(b"", 503), Transient, "503 after 6 attempts"),
        (Reply(b"", 404), Permanent, "404; are base_url"),
        (Reply(b"", 400), Permanent, "400"),
        (Reply(b"", 302, {"Location": "/"}), Permanent, "redirect"),
        (Reply(b"", 401), Permanent, "check LEGACY_TOKEN"),
    ],
)
def test_a_source_that_cannot_be_told_is_a_clear_error(
    server: LegacyServer,
    puller: MakePuller,
    reply: Reply,
    fate: type[Permanent | Transient],
    says: str,
) -> None:
    """The rows are on account; the next pull is shown them again."""
    server.answers("/rows", page({"id": 1, "event": PERSON}))
    server.answers("/ack", reply)
    one = puller({"queue": TOLD})
    pulled(one)
    with pytest.raises(fate, match=f"marking patients as read at {server.url}/ack.*{says}") as got:
        acknowledged(one)
    told(got.value)


def test_a_queue_s_rows_may_have_details(server: LegacyServer, puller: MakePuller) -> None:
    """The event is named by the list; the detail, which does not know it, is what is handed out."""
    server.answers("/rows", page({"id": 1, "event": 7}))
    server.answers("/rows/1", json_reply({"id": 1, "name": PERSON}))
    server.answers("/ack", Reply(b"", 201))
    one = puller({"queue": TOLD, "detail": "rows/{id}"})
    assert [row.row for row in pulled(one)] == [{"id": 1, "name": PERSON}]
    acknowledged(one)
    assert orjson.loads(server.asked[-1].body) == {"events": [7]}
