"""A gate in front of a server: the moment at which something dies is chosen, not hoped for.

Belongs here: passing requests on, counting them, holding one, refusing all. Does not belong here:
what is killed meanwhile. A held request blocks its client in the middle of what it does.
"""

import contextlib
import http.client
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

Asked = tuple[str, str]
"""Method and path of a request."""
_TOO_MANY = 429
_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive", "date", "server"}


@dataclass
class Hold:
    """The first request that ``wanted`` says yes to waits until it is let go."""

    wanted: Callable[[Asked], bool]
    answered: bool
    """Whether the server has done its work by then, and only its answer is held back."""
    reached: threading.Event = field(default_factory=threading.Event)
    let_go: threading.Event = field(default_factory=threading.Event)


class Gate:
    """Stands on a port of its own before the server at ``upstream``."""

    def __init__(self, upstream: str) -> None:
        self._port = urlsplit(upstream).port or 0
        self._hold: Hold | None = None
        self._shut = False
        self.seconds: Callable[[Asked, bytes], float] = lambda _asked, _body: 0
        """How far away the server is: what a request and its body take besides. Side by side."""
        self.asked: list[tuple[float, Asked]] = []
        self.refused: list[Asked] = []
        """Answered with "too many requests", inside a batch or as a whole."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.base_url = f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.open()
        self._server.shutdown()
        self._server.server_close()

    def hold(self, wanted: Callable[[Asked], bool], *, answered: bool = False) -> Hold:
        """Hold the first such request from now on."""
        self.open()
        self._hold = Hold(wanted, answered)
        return self._hold

    def shut(self) -> None:
        """Break every connection from now on, as a server that died would."""
        self._shut = True

    def open(self) -> None:
        """Let everything pass again, what is held included."""
        self._shut = False
        if self._hold is not None:
            self._hold.let_go.set()
        self._hold = None

    def _waits(self, asked: Asked) -> Hold | None:
        hold = self._hold
        if hold is None or hold.reached.is_set() or not hold.wanted(asked):
            return None
        hold.reached.set()
        return hold

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        gate = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def pass_on(self) -> None:
                asked = (self.command, self.path)
                gate.asked.append((time.monotonic(), asked))
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                time.sleep(gate.seconds(asked, body))
                hold = gate._waits(asked)
                if hold is not None and not hold.answered:
                    hold.let_go.wait()
                if gate._shut:
                    self.close_connection = True
                    return
                answer = gate._forwarded(asked, dict(self.headers), body)
                if answer[0] == _TOO_MANY or b'"429"' in answer[2]:
                    gate.refused.append(asked)
                if hold is not None and hold.answered:
                    hold.let_go.wait()
                with contextlib.suppress(OSError):  # who asked may be dead by now
                    self._give(*answer)

            def _give(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
                self.send_response(status)
                for name, value in headers:
                    if name.lower() not in _HOP:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = pass_on  # noqa: N815 - http.server's

            def log_message(self, *_: Any) -> None:
                """Nothing: URLs hold keys."""

        return Handler

    def _forwarded(
        self, asked: Asked, headers: dict[str, str], body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        with contextlib.closing(connection):
            kept = {k: v for k, v in headers.items() if k.lower() not in _HOP}
            connection.request(asked[0], asked[1], body or None, kept)
            response = connection.getresponse()
            return response.status, response.getheaders(), response.read()
