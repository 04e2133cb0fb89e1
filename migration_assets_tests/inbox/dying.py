"""An inbox that is killed once an event is on account, before the service hears of it.

Run as a process: ``python -m migration_assets_tests.inbox.dying``; settings are the environment.
"""

import os
import signal
from datetime import UTC, datetime
from typing import Any

from migration_assets.connections import Connections
from migration_assets.inbox.serving import serve
from migration_assets.manifest.inbox import Inbox
from migration_assets.settings import read_settings


def _now() -> datetime:
    return datetime.now(UTC)


def main() -> None:
    """Serve, and die."""
    accept = Inbox.accept

    def dying(self: Inbox, *given: Any, **named: Any) -> Any:
        accept(self, *given, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    vars_of: Any = Inbox
    vars_of.accept = dying
    serve(
        Connections(read_settings(None), clock=_now),
        host="127.0.0.1",
        port=0,
        listening=lambda where: print(where.url, flush=True),  # noqa: T201 - the test reads it
    )


if __name__ == "__main__":
    main()
