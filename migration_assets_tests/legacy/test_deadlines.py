"""The deadline of an answer is total: whichever part of it drips, it ends.

Every piece arrives well within the read timeout, so that only the deadline can end these pulls;
without it they would not fail but hang (and be ended by pytest-timeout, well after the deadline).
"""

import datetime as dt
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from migration_assets.errors import Permanent, Transient
from migration_assets_tests.legacy.conftest import PERSON, QUERY, MakePuller, keys, told
from migration_assets_tests.legacy.legacy_server import Asked, LegacyServer, Reply, json_reply
from migration_assets_tests.legacy.raw_server import drips, raw_server

pytestmark = pytest.mark.timeout(40)

PATIENCE = {"deadline": 0.4, "timeout_connect": 300, "timeout_read": 300, "attempts": 1}
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("first", "piece"),
    [
        (b"", b"H"),
        (OK + b"X-Patient: ", PERSON.encode()),
        (OK, b"X: 1\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (OK + b"Content-Length: 1000000\r\n\r\n", b" "),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\n", b"0"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: 1\r\n"),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 1000000\r\n", b"X: 1\r\n"),
    ],
    ids=[
        "status line",
        "one header",
        "headers",
        "interim answers",
        "body",
        "chunks",
        "length of a chunk",
        "trailers",
        "headers of a redirect",
    ],
)
def test_an_answer_that_drips_ends_at_the_deadline(
    puller: MakePuller, first: bytes, piece: bytes
) -> None:
    with (
        raw_server(drips(first=first, piece=piece)) as address,
        pytest.raises(Transient, match=r"deadline|no complete answer") as caught,
    ):
        keys(puller(base_url=f"http://{address}", http=PATIENCE))
    told(caught.value)


def test_a_handshake_that_drips_ends_at_the_deadline(puller: MakePuller) -> None:
    """One byte of a TLS record at a time."""
    hello = b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc"
    with (
        raw_server(drips(first=hello, piece=b"\x00")) as address,
        pytest.raises(Transient, match="deadline"),
    ):
        keys(puller(base_url=f"https://{address}", http=PATIENCE))


def test_a_handshake_that_never_begins_ends_at_the_deadline(puller: MakePuller) -> None:
    def silent(_connection: socket.socket, over: threading.Event) -> None:
        over.wait()

    with raw_server(silent) as address, pytest.raises(Transient, match="deadline"):
        keys(puller(base_url=f"https://{address}", http=PATIENCE))


def test_a_host_that_does_not_take_connections_ends_at_the_deadline(puller: MakePuller) -> None:
    """A full queue of connections drops further ones, as a firewall does."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listening:
        taken = [socket.socket() for _ in range(4)]
        for one in taken:
            one.setblocking(False)
            one.connect_ex(listening.getsockname())
        with pytest.raises(Transient, match="deadline"):
            keys(puller(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", http=PATIENCE))
        for one in taken:
            one.close()


def test_each_answer_has_a_deadline_of_its_own(server: LegacyServer, puller: MakePuller) -> None:
    """On one connection that is kept: the second answer may take as long as the first."""
    hesitating = threading.Event()

    def page(number: int) -> Callable[[object], Reply]:
        following = f"/rows{number + 1}" if number < 3 else None

        def answer(_asked: object) -> Reply:
            hesitating.wait(0.5)
            return json_reply({"data": [{"id": number}], "next": following})

        return answer

    server.routes |= {"/rows": page(1), "/rows2": page(2), "/rows3": page(3)}
    one = puller({"pager": {"type": "next_url"}}, http={"deadline": 1.3, "attempts": 1})
    assert keys(one) == ["1", "2", "3"]
    assert len({asked.client for asked in server.asked}) == 1


def test_a_window_whose_answer_stops_arriving_is_asked_for_in_halves(
    server: LegacyServer, puller: MakePuller
) -> None:
    """A source that streams while it still searches times out in the middle of a body."""

    def silence() -> Iterator[bytes]:
        server.stopping.wait(10)
        yield b""

    def rows(asked: Asked) -> Reply:
        begin, end = (dt.datetime.fromisoformat(asked.one(name)) for name in ("since", "until"))
        if end - begin > dt.timedelta(days=1):
            return Reply(b'{"data": [', drip=silence())
        return json_reply({"data": [{"id": begin.day, "at": begin.isoformat()}]})

    server.routes["/rows"] = rows
    cursor = {
        "field": "at",
        "param": "since",
        "until_param": "until",
        "earliest": "2023-01-01T00:00:00Z",
    }
    one = puller({"cursor": cursor}, http={**PATIENCE, "timeout_read": 0.1})
    since = dt.datetime(2023, 3, 1, tzinfo=dt.UTC)
    pages = one.pages("patients", since, since + dt.timedelta(days=4))
    assert [row.key for page in pages for row in page.rows] == ["1", "2", "3", "4"]


def test_a_redirect_s_body_is_not_read(server: LegacyServer, puller: MakePuller) -> None:
    """Requests reads all of it, even if told to follow no redirect: here it never ends."""
    sent: list[int] = []

    def endless() -> Iterator[bytes]:
        while len(sent) < 100_000:
            sent.append(1)
            yield b"x" * 65536

    server.routes["/rows"] = lambda _: Reply(
        status=302, headers={"Location": "/other"}, drip=endless()
    )
    with pytest.raises(Permanent, match="302, a redirect"):
        keys(puller(http={"max_bytes": 1000}))
    assert len(sent) < 1000


def test_a_line_that_is_no_header_hides_no_page_and_logs_no_address(
    puller: MakePuller, caplog: pytest.LogCaptureFixture
) -> None:
    """The Link behind it would not be seen; urllib3 would log the URL with its query."""
    body = b'{"data": [{"id": 1}]}'
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nno header\r\nLink: </rows?p=2>; rel=next"

    def serve(connection: socket.socket, _over: threading.Event) -> None:
        connection.recv(65536)
        connection.sendall(head % len(body) + b"\r\n\r\n" + body)

    with (
        raw_server(serve) as address,
        pytest.raises(Transient, match="is no header after 2 attempts") as caught,
    ):
        keys(
            puller(
                {"pager": {"type": "link_header"}},
                base_url=f"http://{address}",
                http={**PATIENCE, "attempts": 2},
            )
        )
    told(caught.value)
    assert QUERY not in caplog.text


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nX: " + PERSON.encode() * 10_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 10_000 + b"\r\n",
        b"HTTP/1.1 2x0 " + PERSON.encode() + b"\r\n\r\n",
        PERSON.encode() + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n" + PERSON.encode(),
        b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n" + PERSON.encode(),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + PERSON.encode() + b"\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n" + PERSON.encode(),
        b"\x00\xff\x16\x03",
        b"",
    ],
)
def test_what_is_no_http_is_a_clear_error(puller: MakePuller, answer: bytes) -> None:
    def serve(connection: socket.socket, _over: threading.Event) -> None:
        connection.recv(65536)
        connection.sendall(answer)

    with (
        raw_server(serve) as address,
        pytest.raises((Transient, Permanent)) as caught,
    ):
        keys(puller(base_url=f"http://{address}"))
    told(caught.value)
