"""A drill that is stopped takes along what it started: processes, its database, its queue."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
import redis

from migration_assets_tests.drills.installation import MARK, ROOT
from migration_assets_tests.drills.processes import command_of, descendants, kill, marked, until
from migration_assets_tests.drills.several import POSTGRES, REDIS, needs

pytestmark = [pytest.mark.timeout(600), pytest.mark.sandbox, pytest.mark.postgres]


def _mark_of(pid: int) -> str:
    """The mark of a Celery worker among a process's descendants; empty if there is none yet."""
    for each in descendants(pid):
        try:
            environ = Path(f"/proc/{each}/environ").read_bytes().decode()
        except OSError:
            continue
        found = re.search(rf"(?:^|\0)({MARK}=[^\0]+)", environ)
        if found and "celery" in command_of(each):
            return found[1]
    return ""


def _databases() -> set[str]:
    with psycopg.connect(f"{POSTGRES}/postgres") as admin:
        found = admin.execute("SELECT datname FROM pg_database WHERE datname LIKE '%_drill_%'")
        return {name for (name,) in found}


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=lambda how: how.name)
def test_a_drill_that_is_stopped_leaves_nothing_behind(how: signal.Signals, tmp_path: Path) -> None:
    """Left behind, a worker takes the next drill's runs, and databases fill the machine's disk."""
    needs("POSTGRES", POSTGRES)
    needs("REDIS", REDIS)
    before = _databases()
    drills = Path(__file__).with_name("test_several_machines.py")
    command = [
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "four_workers",
        f"--basetemp={tmp_path / 'drill'}", str(drills),
    ]  # fmt: skip
    outer = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
    with (tmp_path / "log").open("wb") as log:
        drill = subprocess.Popen(
            command, cwd=ROOT, env=outer, stdout=log, stderr=log, start_new_session=True
        )
    try:
        mark = until(lambda: _mark_of(drill.pid), "a worker of the drill runs")
        assert len(marked(mark)) >= 2  # the code server too: there is something to leave behind
        assert _databases() > before
        drill.send_signal(how)
        assert drill.wait(120) == pytest.ExitCode.INTERRUPTED, (tmp_path / "log").read_text()
        assert [command_of(each) for each in marked(mark)] == []
        assert _databases() <= before
        with redis.Redis.from_url(REDIS) as broker:
            assert list(broker.scan_iter(f"*{mark.partition('=')[2]}*")) == []
    finally:
        for each in [*descendants(drill.pid), drill.pid]:
            kill(each)
        drill.wait()
