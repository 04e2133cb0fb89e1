"""The demo's two servers: started together, stopped together, found again by later commands.

Belongs here: their life. ``migration demo`` runs them as its own children. When it has ended and
`dagster dev` (or another command) needs them on the same state, ``ensure`` starts a keeper that
runs them for as long as a process that asked for them lives: nothing is left over.
"""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

from migration_assets.demo.clinic_server import Clinic, start_clinic
from migration_assets.demo.home import Home
from migration_assets.demo.medplum_sandbox import Sandbox, start_sandbox
from migration_assets.errors import Permanent, Transient
from migration_assets.settings import Settings

DEMO_QUOTA = 5_000_000
"""Points per minute: a hundred times the default, as a project admin may set it (contract §8)."""

_STARTING_SECONDS = 90.0
_LINGER_SECONDS = 10.0


@dataclass(frozen=True)
class Services:
    """The running pair."""

    clinic: Clinic
    sandbox: Sandbox


@contextmanager
def services(home: Home) -> Iterator[Services]:
    """Start both servers on the state in ``home`` and stop them at the end, whatever happens.

    Raises:
        Transient: another process is running them already.
    """
    with ExitStack() as stack:
        stack.enter_context(_only_one(home))
        ready = home.folder / "ready"
        ready.unlink(missing_ok=True)  # of servers that were killed
        clinic_port, sandbox_port = home.ports()
        clinic = stack.enter_context(_clinic(home, clinic_port))
        sandbox = stack.enter_context(_sandbox(home, sandbox_port))
        home.keep_ports(_port(clinic.base_url), _port(sandbox.base_url))
        ready.touch()
        stack.callback(ready.unlink, missing_ok=True)
        yield Services(clinic, sandbox)


def _clinic(home: Home, port: int) -> Clinic:
    try:
        return start_clinic(home.clinic, port=port, api_key=home.api_key, admin_key=home.admin_key)
    except Permanent:
        if not port:
            raise
        return _clinic(home, 0)  # the port of last time is taken now


def _sandbox(home: Home, port: int) -> Sandbox:
    try:
        return start_sandbox(
            home.sandbox,
            port=port,
            client_id=home.client_id,
            client_secret=home.client_secret,
            quota_per_minute=DEMO_QUOTA,
        )
    except Permanent:
        if not port:
            raise
        return _sandbox(home, 0)


def _port(url: str) -> int:
    return urlsplit(url).port or 0


@contextmanager
def _only_one(home: Home) -> Iterator[None]:
    """Hold the folder's lock: two servers on one state would both write it."""
    with (home.folder / "services.lock").open("w", encoding="utf-8") as file:
        try:
            _lock(file.fileno())
        except OSError:
            raise Transient(
                "The demo's servers are in use by another process (a second `migration demo`, or "
                "`dagster dev`). Stop it first."
            ) from None
        yield


def _lock(descriptor: int) -> None:
    """Lock at once, or after another process's look at ``running``, which holds it an instant."""
    for patience in (0.1, 0.2, 0.4):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            time.sleep(patience)
        else:
            return
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def running(home: Home) -> bool:
    """Whether some process runs the servers."""
    try:
        with _only_one(home):
            return False
    except Transient:
        return True


def ensure(settings: Settings) -> None:
    """Have the demo's servers running while this process lives, if the settings are the demo's."""
    if settings.demo_home is None:
        return
    home = Home(settings.demo_home)
    if not home.folder.is_dir():
        raise Permanent(
            "The demo's state folder is gone, but .env still points at it. "
            "Run `migration demo` again, or delete .env."
        )
    home.users.mkdir(exist_ok=True)
    (home.users / str(os.getpid())).touch()
    ready = home.folder / "ready"
    if running(home) and ready.exists():
        return
    subprocess.Popen(  # noqa: S603 - this very package
        [sys.executable, "-m", "migration_assets.demo.services", str(home.folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + _STARTING_SECONDS
    while not (ready.exists() and running(home)):
        if time.monotonic() > deadline:
            raise Transient(
                "The demo's servers did not start. `migration demo` says why; or delete .env."
            )
        time.sleep(0.1)


def keep(home: Home) -> None:
    """Run the servers until no process that asked for them is left (the keeper's whole life)."""
    signal.signal(signal.SIGTERM, _interrupt)
    with services(home):
        idle_since = time.monotonic()
        while time.monotonic() - idle_since < _LINGER_SECONDS:
            if _users(home):
                idle_since = time.monotonic()
            time.sleep(0.5)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _users(home: Home) -> list[int]:
    """The processes that asked for the servers and still live."""
    alive: list[int] = []
    for each in home.users.iterdir():
        try:
            os.kill(int(each.name), 0)
        except (ProcessLookupError, ValueError):
            each.unlink(missing_ok=True)
        except PermissionError:
            continue
        else:
            alive.append(int(each.name))
    return alive


if __name__ == "__main__":
    keep(Home(Path(sys.argv[1])))
