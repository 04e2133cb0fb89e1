"""The Bots' project, installed and built in the user's cache: packages once, sources as they are.

The checkout gets no node_modules: tests may run in a clone that is read-only, and several at once.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

import migration_assets
from migration_assets.demo import medplum_sandbox
from migration_assets.errors import Permanent

SOURCES = Path(migration_assets.__file__).parent / "bots"
_PACKAGES = ("package.json", "package-lock.json", ".npmrc")
_SECONDS = 300


class Project:
    """A copy of the sources beside the packages that their lock file names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """One of the packages' commands, with Node.js of our own dependency."""
        node = medplum_sandbox._node()
        program = self.folder.parent / "node_modules" / ".bin" / command[0]
        script = str(program.resolve()) if program.exists() else command[0]
        environ = {"PATH": f"{Path(node).parent}:{os.environ.get('PATH', '')}", "NO_COLOR": "1"}
        return subprocess.run(
            [node, script, *command[1:]],
            cwd=self.folder,
            env=environ | {"HOME": str(Path.home())},
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )

    def code(self, bot: str) -> str:
        """What is deployed of a Bot."""
        return (self.folder / "dist" / f"{bot}.cjs").read_text()


def installed() -> Project:
    """The project with its packages, and each Bot built.

    Raises:
        Permanent: there is no Node.js, or npm cannot be reached.
    """
    cache = medplum_sandbox._user_cache()
    locks = [SOURCES / name for name in _PACKAGES]
    packages = cache / f"bots-{medplum_sandbox._digest(*locks)}"
    files = [each for each in sorted(SOURCES.rglob("*")) if _is_source(each)]
    folder = packages / f"project-{medplum_sandbox._digest(*files)}"
    if not folder.is_dir():
        with medplum_sandbox._exclusive(cache, _SECONDS):
            if not packages.is_dir():
                medplum_sandbox._build(packages, locks, medplum_sandbox._npm_ci)
            if not folder.is_dir():
                _built(folder)
    return Project(folder)


def _built(folder: Path) -> None:
    """Fill a folder beside its final place: it is complete or not there."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unfinished-") as unfinished:
        content = Project(Path(unfinished))
        generated = shutil.ignore_patterns("node_modules", "dist")
        shutil.copytree(SOURCES, content.folder, ignore=generated, dirs_exist_ok=True)
        made = content.run("build.mjs")
        if made.returncode:
            raise Permanent(f"The Bots cannot be built: {made.stderr}")
        shutil.copytree(content.folder, folder)


def _is_source(path: Path) -> bool:
    generated = {"node_modules", "dist"} & set(path.relative_to(SOURCES).parts)
    return path.is_file() and not generated


def required() -> bool:
    """Whether a test that cannot run is a failure, as in CI."""
    return bool(os.environ.get("MIGRATION_TEST_REQUIRE_THIRD_PARTY"))


def installed_or_skipped() -> Project:
    """The project; without Node.js or npm a test skips loudly, or fails where it must run."""
    try:
        return installed()
    except Permanent as error:
        if required():
            raise
        pytest.skip(f"NO NPM, so nothing is proved of the Bots: {error}")
