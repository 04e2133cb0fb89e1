"""Measuring in a process of its own, so that CPU and peak memory are its own.

Belongs here: starting a module of this package and reading its one line of JSON; a process's peak.
Does not belong here: what is measured.
"""

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

_STATUS = Path("/proc/self/status")


def measured_apart(module: str, *arguments: str) -> dict[str, Any]:
    """What ``python -m migration_assets_tests.bench.<module>`` prints."""
    command = [sys.executable, "-m", f"migration_assets_tests.bench.{module}", *arguments]
    made = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    found: dict[str, Any] = json.loads(made.stdout)
    return found


def tell(measured: dict[str, Any]) -> None:
    """Print what was measured, for ``measured_apart``."""
    print(json.dumps(measured))  # noqa: T201 - read by the parent


def peak_mb() -> float:
    """Peak resident memory of this process, in MiB.

    From /proc where there is one: what getrusage says of a child begins with its parent's peak.
    """
    if _STATUS.exists():
        lines = _STATUS.read_text().splitlines()
        return next(int(each.split()[1]) / 1024 for each in lines if each.startswith("VmHWM"))
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
