"""A legacy API for tests: a threaded HTTP server whose every route is a function.

Belongs here: serving, recording what was asked, and the rude ways to answer (cut, drip). Does not
belong here: what a particular test serves.
"""

import http.server
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import orjson


@dataclass(frozen=True)
class Asked:
    """One request as the server saw it."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    form: Mapping[str, list[str]]
    client: str
    body: bytes = b""

    def one(self, name: str, default: str = "") -> str:
        """The first value of a query parameter."""
        return self.query.get(name, [default])[0]


@dataclass(frozen=True)
class Reply:
    """What to answer. ``missing`` bytes are promised and never sent; ``drip`` sends piecewise."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    missing: int = 0
    drip: Iterable[bytes] | None = None


def json_reply(value: Any, status: int = 200, **headers: str) -> Reply:
    """A JSON answer; ``Retry_After=...`` becomes ``Retry-After``."""
    named = {name.replace("_", "-"): content for name, content in headers.items()}
    return Reply(orjson.dumps(value), status, {"Content-Type": "application/json", **named})


Route = Callable[[Asked], Reply]


class LegacyServer:
    """Serves ``routes`` (path to function) and keeps what was ``asked``."""

    def __init__(self, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self.routes: dict[str, Route] = {}
        self.asked: list[Asked] = []
        self.stopping = threading.Event()
        self._server = _Quiet((host, 0), self)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://{host}:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answers(self, path: str, *replies: Reply) -> None:
        """Serve these replies in turn, the last one for ever."""
        left = iter(replies)
        last = replies[-1]
        self.routes[path] = lambda _: next(left, last)


class _Quiet(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], legacy: LegacyServer) -> None:
        self.legacy = legacy
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up in the middle is what half of the tests are about."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
    """One connection; what to answer is the server's to say."""

    server: "_Quiet"
    protocol_version = "HTTP/1.1"
    timeout = 20
    disable_nagle_algorithm = True  # else every answer waits 40 ms for an acknowledgement

    def log_message(self, *_: Any) -> None:
        """Nothing to say."""

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def do_PUT(self) -> None:
        self.do_POST()

    def do_DELETE(self) -> None:
        self.do_POST()

    def _answer(self, body: bytes) -> None:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query, keep_blank_values=True)
        asked = Asked(
            self.command,
            parts.path,
            query,
            dict(self.headers),
            parse_qs(body.decode()) if self.command == "POST" else {},
            str(self.client_address),
            body,
        )
        self.server.legacy.asked.append(asked)
        reply = self.server.legacy.routes[parts.path](asked)
        self._send(reply)

    def _send(self, reply: Reply) -> None:
        self.send_response_only(reply.status)
        for name, content in {"Date": self.date_time_string(), **reply.headers}.items():
            if content:
                self.send_header(name, content)
        promised = 1 << 30 if reply.drip else len(reply.body) + reply.missing
        self.send_header("Content-Length", str(promised))
        self.end_headers()
        self.wfile.write(reply.body)
        if reply.drip is not None:
            for piece in reply.drip:
                self.wfile.write(piece)
                if self.server.legacy.stopping.is_set():
                    break
        if reply.missing or reply.drip is not None:
            self.close_connection = True


@contextmanager
def nobody_listens() -> Iterator[str]:
    """An address of this machine that refuses connections while the block runs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"
