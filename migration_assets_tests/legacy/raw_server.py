"""A server below HTTP: whoever connects gets what a function writes to the socket.

Belongs here: sockets for tests whose answers are no proper HTTP. Does not belong here: routes
(``legacy_server``).
"""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Serve = Callable[[socket.socket, threading.Event], None]
"""Talks on one connection until it is done, or the event says that the test is over."""


@contextmanager
def raw_server(serve: Serve, host: str = "127.0.0.1") -> Iterator[str]:
    """``host:port`` of a server that serves one connection after another."""
    over = threading.Event()

    def listen(listening: socket.socket) -> None:
        while not over.is_set():
            # Nobody yet, or a client that hangs up: the latter is what these tests are about.
            with suppress(OSError), listening.accept()[0] as connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                serve(connection, over)

    with socket.create_server((host, 0)) as listening:
        listening.settimeout(0.05)
        thread = threading.Thread(target=listen, args=(listening,), daemon=True)
        thread.start()
        try:
            yield f"{host}:{listening.getsockname()[1]}"
        finally:
            over.set()
            thread.join()


def drips(*, first: bytes = b"", piece: bytes = b"", every: float = 0.02) -> Serve:
    """Sends ``first`` at once, then ``piece`` again and again, slowly, without end."""

    def serve(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(65536)
        connection.sendall(first)
        while not over.wait(every):
            connection.sendall(piece)

    return serve
