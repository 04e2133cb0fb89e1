"""Running the command as a person would: in a process, in a folder of its own.

The program is started anew where a test is about that, and for verbs that leave something running;
else the process is a fork of one that has imported it (``warm``).
"""

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from migration_assets.demo import migration as demo_migration
from migration_assets.demo.home import Home
from migration_assets_tests.cli.warm import Warm

MIGRATION = Path(sys.executable).with_name("migration")
_FROM_ITS_START = {"demo", "new"}
_SECONDS = 240  # of a machine with other work to do; nobody waits longer than needed
_warm = Warm()


def environment(**variables: str) -> dict[str, str]:
    """The test's environment without any setting of ours, plus ``variables``."""
    ours = ("MIGRATION_", "MEDPLUM_", "DAGSTER_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return clean | variables


def migration(*arguments: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run ``migration ARGUMENTS`` in ``folder`` to its end."""
    if arguments and arguments[0] not in _FROM_ITS_START:
        return _warm.call(
            list(arguments), folder=folder, environment=environment(**variables), seconds=_SECONDS
        )
    return subprocess.run(
        [MIGRATION, *arguments],
        cwd=folder,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )


def founded(folder: Path, *, patients: int, seed: int = 7) -> Home:
    """A demo clinic in ``folder`` whose migration has three months to show instead of 25.

    What changed before the first of them, the first pulls: every row is migrated all the same, in
    half the time.
    """
    home = Home(folder / ".demo")
    now = datetime.now(UTC)
    demo_migration.found_clinic(home, patients=patients, seed=seed, now=now)
    three_months(home, now)
    return home


def three_months(home: Home, now: datetime) -> None:
    """Begin with the month before last."""
    months = now.year * 12 + now.month - 1 - 2
    start = f"{months // 12}-{months % 12 + 1:02}-01"
    (home.folder / "start").write_text(start, encoding="utf-8")


def start(*arguments: str, folder: Path) -> subprocess.Popen[str]:
    """Start ``migration ARGUMENTS`` in ``folder``."""
    return subprocess.Popen(
        [MIGRATION, *arguments],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
