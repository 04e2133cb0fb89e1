"""A third-party server as a child process: started, waited for, stopped, whatever becomes of us.

The server runs its own command line, unmodified; ``inside/ends_with_parent`` is loaded before it
and ends the process when the pipe that we hold is closed. A kill of ours closes it too.
"""

import contextlib
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from migration_assets.demo.child_process import end
from migration_assets_tests.third_party.packages import node, node_modules, python

_INSIDE = Path(__file__).parent / "inside"
_START_SECONDS = 60
_TRIES = 3  # another process may take the free port before the server does


@dataclass(frozen=True)
class Serving:
    """A server that answers at ``url``."""

    url: str
    pid: int


def python_module(module: str, *arguments: str) -> list[str]:
    """The command that runs ``python -m module`` among the servers' packages."""
    return [str(python()), str(_INSIDE / "ends_with_parent.py"), module, *arguments]


def node_script(script: str, *arguments: str) -> list[str]:
    """The command that runs a script of an npm package."""
    preload = ["--import", str(_INSIDE / "ends_with_parent.mjs")]
    return [node(), *preload, str(node_modules() / script), *arguments]


@contextmanager
def serving(
    command: Callable[[int], list[str]],
    *,
    answers: str,
    cwd: Path,
    environ: Mapping[str, str] | None = None,
) -> Iterator[Serving]:
    """Run ``command(port)`` and wait until it answers at the path ``answers``, whatever it says.

    Raises:
        RuntimeError: it ended or was silent for a minute; the text is what it wrote.
    """
    with contextlib.ExitStack() as stack:
        for tries_left in reversed(range(_TRIES)):
            port = _free_port()
            errors = stack.enter_context(tempfile.TemporaryFile())
            process = subprocess.Popen(
                command(port),
                cwd=cwd,
                env={**os.environ, **(environ or {})},
                stdin=subprocess.PIPE,
                stdout=errors,
                stderr=errors,
                # Its own session: Ctrl-C in the terminal is the test runner's to deal with.
                start_new_session=True,
            )
            stack.callback(end, process)
            url = f"http://127.0.0.1:{port}/"
            if _listens(process, url + answers):
                break
            if process.poll() is None or not tries_left:
                errors.seek(0)
                said = errors.read()[-2000:].decode(errors="replace")
                raise RuntimeError(f"{command(port)} did not start: {said}")
        yield Serving(url, process.pid)


def _listens(process: subprocess.Popen[bytes], url: str) -> bool:
    deadline = time.monotonic() + _START_SECONDS
    with requests.Session() as session:
        session.trust_env = False
        while process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(requests.RequestException):
                session.get(url, timeout=5)
                return True
            time.sleep(0.05)
    return False


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
