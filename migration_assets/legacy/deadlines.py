"""A total deadline for an answer: connecting, handshake, status line, headers and body.

Belongs here: sockets that know when to stop waiting. Does not belong here: what a late answer
means (``failures``), or how long is long enough (``description.http``).

A read timeout starts anew with every byte, so that a server sending a header byte a second would
hold us for ever. Here each wait for bytes is at most what is left of the whole. Sending is bounded
by Python itself (``sendall`` and a TLS handshake take one timeout in total). Not bounded is looking
up a name, which the system's resolver gives up by its own rules.
"""

import http.client
import io
import socket
from collections.abc import Callable
from math import inf
from typing import Any, ClassVar

import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HeaderParsingError
from urllib3.util.response import assert_header_parsing

BROKEN_HEADERS = "the headers cannot be read"
"""What the error says of an answer whose headers are not all headers."""

_LEAST = 0.001  # seconds; a socket takes 0 for «do not wait at all»


class Deadline:
    """When the answer that is under way must be complete. One answer at a time."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.monotonic = monotonic
        self.expires = inf

    def start(self, seconds: float) -> None:
        """The next answer has this long."""
        self.expires = self.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds left, negative if it has passed."""
        return self.expires - self.monotonic()


class _TimedReader(io.RawIOBase):
    """A socket's bytes; each wait is the read timeout, or what is left until the deadline."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock, self._deadline = sock, deadline
        self._patience = sock.gettimeout()
        # Holds the socket open, too: http.client closes its own hold once headers are read.
        self._raw = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline.left
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        patience = inf if self._patience is None else self._patience
        self._sock.settimeout(max(min(patience, left), _LEAST))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Answering:
    """The one thing http.client asks of a socket that it reads an answer from."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock, self._deadline = sock, deadline

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_TimedReader(self._sock, self._deadline))


class _Response(http.client.HTTPResponse):
    """An answer that is read before the deadline or not at all."""

    deadline: ClassVar[Deadline]

    def __init__(self, sock: socket.socket, *args: Any, **named: Any) -> None:
        answering: Any = _Answering(sock, self.deadline)
        super().__init__(answering, *args, **named)

    def begin(self) -> None:
        """Read the headers, all of them or none.

        A line that is no header hides those behind it, and without its ``Link`` the first page
        would be the last. urllib3 only logs it, with the whole URL, whose query may hold secrets.
        """
        super().begin()
        try:
            assert_header_parsing(self.msg)
        except HeaderParsingError:
            broken = True
        else:
            broken = False
        if broken:
            raise http.client.HTTPException(BROKEN_HEADERS)


class _Bounded(HTTPConnection):
    """A connection on which nothing outlasts the deadline of its session."""

    deadline: ClassVar[Deadline]

    def connect(self) -> None:
        usual = self.timeout if isinstance(self.timeout, int | float) else inf
        self.timeout = max(min(usual, self.deadline.left), _LEAST)
        super().connect()


class _BoundedTls(_Bounded, HTTPSConnection):
    """The same over TLS."""


def _kinds(deadline: Deadline) -> dict[str, Any]:
    """Pools whose connections know the deadline, by scheme."""
    own: dict[str, Any] = {"deadline": deadline}
    own["response_class"] = type("_Answer", (_Response,), {"deadline": deadline})
    plain, tls = type("_Plain", (_Bounded,), own), type("_Tls", (_BoundedTls,), own)
    return {
        "http": type("_Pool", (urllib3.HTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("_TlsPool", (urllib3.HTTPSConnectionPool,), {"ConnectionCls": tls}),
    }


class DeadlineAdapter(HTTPAdapter):
    """Gives every connection of a session the deadline."""

    def __init__(self, deadline: Deadline) -> None:
        self._kinds = _kinds(deadline)
        super().__init__()

    def init_poolmanager(self, *args: Any, **named: Any) -> None:
        """As usual, then with our kinds of connection."""
        super().init_poolmanager(*args, **named)
        self.poolmanager.pool_classes_by_scheme = self._kinds

    def proxy_manager_for(self, *args: Any, **named: Any) -> urllib3.PoolManager:
        """The same for connections by way of a proxy."""
        manager: urllib3.PoolManager = super().proxy_manager_for(*args, **named)
        manager.pool_classes_by_scheme = self._kinds
        return manager
