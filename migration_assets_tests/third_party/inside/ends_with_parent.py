"""Runs ``python -m MODULE ARGUMENTS`` and ends when standard input does.

Runs in the servers' own environment. Standard input is a pipe that the parent holds: however the
parent ends, the pipe closes, and so does the server.
"""

import os
import runpy
import sys
import threading


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
