"""A server on loopback that answers what a test wrote down, and keeps what it was asked."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Said:
    """One answer; ``cut`` sends only the first half of the body and closes the line."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Script:
    """What is answered at each path, in turn; the last answer again and again."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.asked: list[Asked] = []
        self._answers: dict[str, list[Said]] = {}
        self._lock = threading.Lock()

    def say(self, path: str, *answers: Said) -> None:
        """Answer requests whose path begins so."""
        self._answers[path] = list(answers)

    def at(self, path: str) -> list[Asked]:
        """What was asked at a path."""
        return [each for each in self.asked if each.path.startswith(path)]

    def answer(self, asked: Asked) -> Said:
        """The next answer for a request: of the longest path that was said."""
        with self._lock:
            self.asked.append(asked)
            paths = [each for each in self._answers if asked.path.startswith(each)]
            if not paths:
                return Said(404, {"resourceType": "OperationOutcome"})
            answers = self._answers[max(paths, key=len)]
            return answers.pop(0) if len(answers) > 1 else answers[0]


TOKEN = Said(200, {"access_token": "t1", "expires_in": 3600})


@contextmanager
def scripted_server() -> Iterator[Script]:
    """A server that grants tokens and knows nothing else until it is told."""

    class Handler(BaseHTTPRequestHandler):
        """Reads one request and says what the script has for it."""

        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            """Answer."""
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            said = script.answer(Asked(self.command, self.path, dict(self.headers), body))
            content = b"" if said.body is None else said.body
            if not isinstance(content, bytes):
                content = json.dumps(content).encode()
            self.send_response(said.status)
            for name, value in said.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if said.cut:
                self.wfile.write(content[: len(content) // 2])
                self.close_connection = True
            else:
                self.wfile.write(content)

        do_POST = do_DELETE = do_GET  # noqa: N815 - the names http.server calls

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its own name
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    script = Script(f"http://127.0.0.1:{server.server_address[1]}/")
    script.say("/oauth2/token", TOKEN)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
