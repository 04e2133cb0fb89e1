"""Where lives come from: the fork server's process, and what is done to its children.

Belongs here: starting lives, killing them after a time, hearing how they ended.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from migration_assets_tests.resilience.life import Life

_ROOT = Path(__file__).parents[2]
_PATIENCE = 100


@dataclass
class Ended:
    """How a life ended: ``killed`` by a signal, or by itself after passing so many spots."""

    killed: bool
    seconds: float
    passed: dict[str, int] = field(default_factory=dict)
    failed: str = ""


class Nursery:
    """A fork server; one life at a time."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._heard = b""

    def live(self, life: Life, *, kill_after: float | None = None) -> Ended:
        """Let it live; kill it from outside after so many seconds, if it is not over by then."""
        self.start(life)
        return self.end(kill_after=kill_after)

    def start(self, life: Life) -> int:
        """Begin a life, and return its process id."""
        assert self._process.stdin is not None
        self._process.stdin.write(life.to_line().encode())
        self._process.stdin.flush()
        self._began = time.monotonic()
        self._pid = int(self._next()["pid"])
        return self._pid

    def stand_still(self) -> None:
        """Wait until the life has stopped itself."""
        stat = Path(f"/proc/{self._pid}/stat")
        ends = time.monotonic() + _PATIENCE
        while stat.read_text().rsplit(")", 1)[1].split()[0] != "T":
            assert time.monotonic() < ends
            time.sleep(0.002)  # until it is so, not for luck

    def wake(self) -> None:
        """Let it go on."""
        os.kill(self._pid, signal.SIGCONT)

    def end(self, *, kill_after: float | None = None) -> Ended:
        """Hear how the life ended."""
        ended = Ended(killed=False, seconds=0)
        due = None if kill_after is None else self._began + kill_after
        while (told := self._next(until=due)) is None or "ended" not in told:
            if told is None:
                # Over by itself in this very moment, and waited for by its parent: it is gone.
                with suppress(ProcessLookupError):
                    os.kill(self._pid, signal.SIGKILL)
                due = None
                continue
            ended.passed = told.get("passed", {})
            ended.failed = told.get("failed", "")
        ended.killed = told["ended"] == -signal.SIGKILL
        ended.seconds = time.monotonic() - self._began
        return ended

    def _next(self, until: float | None = None) -> Any:
        while b"\n" not in self._heard:
            left = _PATIENCE if until is None else max(0.0, until - time.monotonic())
            assert self._process.stdout is not None
            if not select.select([self._process.stdout], [], [], left)[0]:
                if until is None:
                    raise TimeoutError
                return None
            got = os.read(self._process.stdout.fileno(), 1 << 16)
            if not got:
                raise EOFError
            self._heard += got
        line, self._heard = self._heard.split(b"\n", 1)
        return json.loads(line)


@contextmanager
def nursery() -> Iterator[Nursery]:
    """A fork server of its own."""
    command = [sys.executable, "-m", "migration_assets_tests.resilience.life"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=_ROOT
    ) as process:
        try:
            yield Nursery(process)
        finally:
            process.kill()
