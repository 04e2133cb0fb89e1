"""A puller whose connections end in a function of this process instead of a socket.

Everything above the socket is real: our guards, requests, urllib3, http.client. Belongs here: that
replacement. Does not belong here: what the function answers.
"""

import io
from collections.abc import Callable
from typing import Any

from migration_assets.legacy.pull import Puller

Respond = Callable[[bytes], bytes]
"""From the bytes of a request to the bytes of its response."""


class _Wire:
    """What http.client needs of a socket."""

    def __init__(self, respond: Respond) -> None:
        self._respond, self._sent = respond, bytearray()

    def sendall(self, data: bytes) -> None:
        self._sent += data

    def makefile(self, _mode: str, buffering: int = -1) -> io.BytesIO:
        asked = bytes(self._sent)
        self._sent.clear()
        return io.BytesIO(self._respond(asked))

    def gettimeout(self) -> float:
        return 1.0

    def settimeout(self, _seconds: float) -> None:
        """Nothing waits."""

    def shutdown(self, _how: int) -> None:
        """Nothing is open."""

    def close(self) -> None:
        """Nothing is open."""


def wire(puller: Puller, respond: Respond) -> None:
    """Have a puller's requests answered by a function."""

    def connect(connection: Any) -> None:
        connection.sock = _Wire(respond)

    adapters: Any = puller._teller._session.adapters.values()
    for adapter in adapters:
        pools = adapter.poolmanager.pool_classes_by_scheme
        for scheme, pool in pools.items():
            own = {"connect": connect, "is_connected": property(lambda _: False)}
            wired = type("_Wired", (pool.ConnectionCls,), own)
            pools[scheme] = type("_Pool", (pool,), {"ConnectionCls": wired})
