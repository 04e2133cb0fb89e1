"""A server of the tests must never outlive them: the next run would find its port taken."""

import json
import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.third_party,
    pytest.mark.usefixtures("servers"),
    pytest.mark.timeout(600),
]

_PYTHON = "lambda port: python_module('http.server', str(port), '--bind', '127.0.0.1')"
_NODE = "lambda port: node_script('json-server/lib/cli/bin.js', '-p', str(port), 'db.json')"


@pytest.mark.parametrize("command", [_PYTHON, _NODE], ids=["python", "node"])
def test_a_server_ends_with_a_killed_test_process(command: str, tmp_path: Path) -> None:
    (tmp_path / "db.json").write_text(json.dumps({"rows": []}))
    code = (
        "import time; from pathlib import Path\n"
        "from migration_assets_tests.third_party.running import *\n"
        f"with serving({command}, answers='', cwd=Path.cwd()) as running:\n"
        "    print(running.pid, flush=True)\n"
        "    time.sleep(600)\n"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        # Readable when the child is gone: nothing to poll for, nothing to sleep for.
        watch = os.pidfd_open(child)
        parent.kill()
    gone, _, _ = select.select([watch], [], [], 30)
    os.close(watch)
    assert gone
