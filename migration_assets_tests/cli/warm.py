"""A process in which the command is imported already: each call of it is a fork.

Belongs here: the fork server and its end of the pipe. Does not belong here: what a test claims.
Everything of a call is its own as in a process that was started for it: environment, folder,
standard streams, exit code, what it leaves running. Only the two seconds of importing are not
spent again; that they end well, whoever starts the real program sees (``migration demo``).

The server imports nothing of the test run, and has no thread when it forks.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class Warm:
    """The fork server, as its client sees it; one call at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._one = threading.Lock()

    def call(
        self, words: list[str], *, folder: Path, environment: dict[str, str], seconds: float
    ) -> subprocess.CompletedProcess[str]:
        """Run the command with these words to its end.

        Raises:
            TimeoutError: it took longer than ``seconds``; it and the server are gone.
        """
        with tempfile.TemporaryDirectory() as made:
            out, err = Path(made, "out"), Path(made, "err")
            asked = {"words": words, "folder": str(folder), "environment": environment}
            code = self._answer({**asked, "out": str(out), "err": str(err)}, seconds)
            told = [each.read_text(encoding="utf-8") for each in (out, err)]
        return subprocess.CompletedProcess(["migration", *words], code, *told)

    def _answer(self, asked: dict[str, Any], seconds: float) -> int:
        with self._one:
            process = self._running()
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(asked).encode() + b"\n")
            process.stdin.flush()
            late = threading.Timer(seconds, process.kill)
            late.start()
            line = process.stdout.readline()
            late.cancel()
        if not line:
            self._process = None
            raise TimeoutError(f"migration {asked['words']} did not end within {seconds:g} s")
        return int(json.loads(line)["code"])

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            command = [sys.executable, "-m", "migration_assets_tests.cli.warm"]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
            )
        return self._process


def _be_called(asked: dict[str, Any]) -> None:
    """In the fork: become the command. Ends the process by what it raises, as the script does."""
    from migration_assets.cli import app  # noqa: PLC0415 - imported by the server already

    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.argv = ["migration", *asked["words"]]
    app()


def _serve() -> None:
    """Fork for every line; when the pipe is closed, so is this."""
    for name in ("migration_assets.cli.verbs", "sqlite3", "rich._emoji_codes"):
        importlib.import_module(name)

    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            for descriptor, name in enumerate((os.devnull, asked["out"], asked["err"])):
                flags = os.O_RDONLY if descriptor == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
                opened = os.open(name, flags, 0o600)
                os.dup2(opened, descriptor)
                os.close(opened)
            _be_called(asked)
            return
        _, status = os.waitpid(child, 0)
        sys.stdout.write(json.dumps({"code": os.waitstatus_to_exitcode(status)}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
