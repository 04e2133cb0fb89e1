"""Starts and stops the demo clinic's server, and speaks to its doors from the outside.

Belongs here: the server's process and its life. Does not belong here: what it answers
(``clinic_api``).

The server ends with its parent whatever happens to the parent: it reads a pipe that the parent
keeps open, and stops when the pipe closes. Its keys reach it in its environment, where other users
of the machine cannot read them as they could in its command line; it writes no access log.
"""

import argparse
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self
from urllib.parse import quote

from migration_assets.demo.child_process import end, first_line
from migration_assets.errors import Permanent

_API_KEY, _ADMIN_KEY = "CLINIC_API_KEY", "CLINIC_ADMIN_KEY"
_START_SECONDS = 30
_GRACE_SECONDS = 2  # for answers under way when it is told to stop


class Clinic:
    """A running clinic. A context manager: leaving it stops the server."""

    def __init__(
        self, process: subprocess.Popen[bytes], port: int, *, api_key: str, admin_key: str
    ) -> None:
        self._process = process
        self._port = port
        self.base_url = f"http://127.0.0.1:{port}/"
        self.api_key = api_key
        self._admin_key = admin_key

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The server's process id: also its process group and session."""
        return self._process.pid

    def stop(self) -> None:
        """End the server. Harmless when it has ended."""
        end(self._process)

    def counts(self) -> dict[str, int]:
        """How many rows a whole pull of each stream brings, deleted ones included."""
        answer = self._ask("GET", "/api", {"X-API-Key": self.api_key})
        return {each["name"]: each["rows"] + each["deleted"] for each in answer["streams"]}

    def change(
        self, seed: int, *, updates: int = 0, inserts: int = 0, deletes: int = 0
    ) -> dict[str, list[tuple[str, str]]]:
        """Let the clinic work; returns (stream, key) of every row updated, inserted, deleted."""
        wanted = {"seed": seed, "updates": updates, "inserts": inserts, "deletes": deletes}
        answer = self._ask("POST", "/admin/change", self._admin, wanted)
        return {kind: [(stream, key) for stream, key in rows] for kind, rows in answer.items()}

    def put(self, stream: str, key: str, row: Any) -> None:
        """Write a row now; a stream that was not there is there from then on."""
        self._ask("PUT", _row_path(stream, key), self._admin, row)

    def delete(self, stream: str, key: str) -> None:
        """Delete a row now: what is left is a tombstone."""
        self._ask("DELETE", _row_path(stream, key), self._admin)

    def fail_writes(self, *faults: str) -> None:
        """Have the next writes through ``/api`` go wrong, one after the other (``clinic_desk``)."""
        self._ask("PUT", "/admin/faults", self._admin, list(faults))

    @property
    def _admin(self) -> dict[str, str]:
        return {"X-Admin-Key": self._admin_key}

    def _ask(self, method: str, path: str, headers: Mapping[str, str], body: Any = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        with contextlib.closing(connection):
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, dict(headers))
            response = connection.getresponse()
            answer = json.loads(response.read())
        if response.status >= http.HTTPStatus.BAD_REQUEST:
            raise Permanent(f"The demo clinic refused a {method}: {answer.get('error')}")
        return answer


def start_clinic(store_path: Path, *, port: int = 0, api_key: str, admin_key: str) -> Clinic:
    """Start the API over a clinic's database on loopback and wait until it listens.

    ``port`` 0 takes a free one.

    Raises:
        Permanent: there is no such database, or the port is taken.
    """
    if not store_path.is_file():
        raise Permanent(f"There is no clinic in {store_path}: found one first (migration demo).")
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(  # noqa: S603 - this very module
            [sys.executable, "-m", __name__, str(store_path.resolve()), str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, _API_KEY: api_key, _ADMIN_KEY: admin_key},
            # Its own session: Ctrl-C in the terminal is the parent's to deal with.
            start_new_session=True,
        )
        try:
            listening = json.loads(first_line(process, _START_SECONDS))
        except (OSError, ValueError, TimeoutError) as error:
            process.kill()
            end(process)
            errors.seek(0)
            said = errors.read()[-2000:].decode(errors="replace").strip()
            raise Permanent(f"The demo clinic did not start: {said or error}") from None
    return Clinic(process, listening["port"], api_key=api_key, admin_key=admin_key)


def _row_path(stream: str, key: str) -> str:
    return f"/admin/rows/{quote(stream, safe='')}/{quote(key)}"


def serve(store_path: Path, port: int, environ: Mapping[str, str]) -> None:
    """Be the server, until a signal or the end of standard input (the child's whole life)."""
    import uvicorn  # noqa: PLC0415 - the parent has no use for a server, and is to start fast

    from migration_assets.demo.clinic_api import clinic_app  # noqa: PLC0415 - as above

    listener = _listen(port)
    app = clinic_app(store_path, api_key=environ[_API_KEY], admin_key=environ[_ADMIN_KEY])
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            access_log=False,  # URLs hold keys
            log_level="warning",
            lifespan="off",
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
    )

    def leave(_signal: int, _frame: FrameType | None) -> None:
        server.should_exit = True

    for each in (signal.SIGTERM, signal.SIGINT):
        # uvicorn's own handlers come later and go earlier, and end by raising the signal again.
        signal.signal(each, leave)
    threading.Thread(target=_stop_with_parent, args=(server,), daemon=True).start()
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)  # noqa: T201 - the parent reads it
    server.run(sockets=[listener])


def _listen(port: int) -> socket.socket:
    """A listening socket: who connects from here on waits, and is not refused."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        sys.exit(f"port {port} cannot be had: {error.strerror}")
    listener.listen(128)
    return listener


def _stop_with_parent(server: Any) -> None:
    while os.read(0, 4096):  # not sys.stdin: a thread inside it aborts an exit by signal
        pass
    server.should_exit = True


if __name__ == "__main__":
    _parser = argparse.ArgumentParser(description=__doc__)
    _parser.add_argument("store", type=Path)
    _parser.add_argument("port", type=int)
    _options = _parser.parse_args()
    serve(_options.store, _options.port, os.environ)
