"""Processes of an installation as children of the test: started, found by parentage, killed, ended.

Belongs here: Popen and /proc. Does not belong here: Dagster. Each has a session of its own and
default signal handling: started from a shell's background it could not be stopped (dagster.md §5).
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

Found = TypeVar("Found")
_PATIENCE_SECONDS = 150.0  # what takes ten on a quiet machine; nobody waits longer than needed
_SETPRIV = shutil.which("setpriv")
_WITH_US = [_SETPRIV, "--pdeathsig", "TERM"] if _SETPRIV else []
"""A test that is killed takes along what it started (Linux; elsewhere it is left over)."""


def until(
    found: Callable[[], Found | None], what: str, seconds: float = _PATIENCE_SECONDS
) -> Found:
    """What ``found`` returns once it is neither None nor False; fails when it takes too long."""
    deadline = time.monotonic() + seconds
    while True:
        if answer := found():
            return answer
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} seconds"
        time.sleep(0.1)


class Process:
    """A child with its descendants."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], folder: Path, name: str
    ) -> None:
        self.name = name
        self.log = folder / f"{name}-{time.monotonic_ns()}.log"
        with self.log.open("wb") as log:
            self._popen = subprocess.Popen(
                [*_WITH_US, *command], env=dict(environment), cwd=folder,
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    @property
    def lives(self) -> bool:
        """Whether it has not ended."""
        return self._popen.poll() is None

    def children(self) -> list[int]:
        """Its descendants' process ids."""
        return descendants(self.pid)

    def kill(self) -> None:
        """Kill it alone, as the kernel would; its children live on."""
        self._popen.kill()
        self._popen.wait()

    def kill_all(self) -> None:
        """Kill it with all its children at once: a machine that is gone."""
        family = [self.pid, *self.children()]
        for each in family:
            kill(each)
        self._popen.wait()

    def end(self) -> None:
        """Ask it to stop; whatever is left after ten seconds is killed."""
        family = self.children()
        if self._popen.poll() is None:
            self._popen.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(10)
        for each in [self.pid, *family, *descendants(self.pid)]:
            kill(each)
        self._popen.wait()

    def said(self) -> str:
        """The end of what it wrote."""
        return self.log.read_text(errors="replace")[-3000:]


def kill(pid: int) -> None:
    """Kill a process at once; harmless when it has ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """Every process that descends from ``pid``."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found: list[int] = []
    ahead = [pid]
    while ahead:
        new = parents.get(ahead.pop(), [])
        found += new
        ahead += new
    return found


def marked(mark: str) -> list[int]:
    """Every process with this in its environment: also those whose parents were killed."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark.encode() in environ.read_bytes().split(b"\0"):
                found.append(int(environ.parent.name))
    return [each for each in found if each != os.getpid()]


def command_of(pid: int) -> str:
    """The command line of a process; empty when it has ended."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ""
    return raw.replace(b"\0", b" ").decode(errors="replace")
