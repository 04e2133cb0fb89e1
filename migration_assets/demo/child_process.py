"""A server of the demo as a child process: its first word, and its end.

Belongs here: what the demo's two servers have in common as processes. Does not belong here: what
either serves. Both print one line when they listen and stop when the pipe we hold is closed.
"""

import contextlib
import os
import selectors
import subprocess
import time

_STOP_SECONDS = 10


def first_line(process: subprocess.Popen[bytes], seconds: float) -> bytes:
    """The line the server prints when it listens.

    Raises:
        TimeoutError: it does not come within ``seconds``.
        OSError: the server ended before it listened.
    """
    assert process.stdout is not None  # noqa: S101 - tells mypy what PIPE means
    deadline = time.monotonic() + seconds
    line = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError(f"it said nothing for {seconds:g} seconds")
            chunk = os.read(process.stdout.fileno(), 4096)
            if not chunk:
                raise OSError("it ended before it listened")
            line += chunk
    return line


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask the server to stop, then tell it, then make it; harmless when it has ended."""
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
    for insist in (process.terminate, process.kill):
        try:
            process.wait(timeout=_STOP_SECONDS)
            break
        except subprocess.TimeoutExpired:
            insist()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
