"""Running the command as a person would: in a process, in a folder of its own."""

import os
import subprocess
import sys
from pathlib import Path

MIGRATION = Path(sys.executable).with_name("migration")


def environment(**variables: str) -> dict[str, str]:
    """The test's environment without any setting of ours, plus ``variables``."""
    ours = ("MIGRATION_", "MEDPLUM_", "DAGSTER_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return clean | variables


def migration(*arguments: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run ``migration ARGUMENTS`` in ``folder`` to its end."""
    return subprocess.run(
        [MIGRATION, *arguments],
        cwd=folder,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


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
