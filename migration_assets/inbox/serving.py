"""The inbox as a server: where it listens, and its life from start to signal.

Belongs here: the socket, uvicorn, signals. Does not belong here: the interface (``app``). It
listens on this machine alone unless it is told otherwise: in front of other machines stands a proxy
with TLS (docs/dual-write.md).
"""

import ipaddress
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

import uvicorn

from migration_assets.connections import PIPELINE_VERSION, Connections, mappings_of
from migration_assets.errors import MigrationError, Permanent, Transient
from migration_assets.inbox.app import Desk, inbox_app
from migration_assets.inbox.reading import Reading
from migration_assets.inbox.tokens import Tokens, read_tokens
from migration_assets.manifest import Manifest
from migration_assets.manifest.inbox import RUN

PORT = 8400
_GRACE_SECONDS = 20
_AT_ONCE = 200
"""Connections; to one more is said that the service is busy."""


@dataclass(frozen=True)
class Listening:
    """Where the inbox listens, and which streams it takes."""

    url: str
    streams: tuple[str, ...]


def serve(
    connections: Connections,
    *,
    host: str,
    port: int,
    listening: Callable[[Listening], None],
) -> None:
    """Be the inbox until SIGTERM or SIGINT: what is under way then is finished first.

    Raises:
        Permanent: no tokens, an address that needs TLS before it, or a port that is taken.
        Transient: the database cannot be reached.
    """
    settings = connections.settings
    secret = settings.inbox_tokens
    tokens = read_tokens(secret.get_secret_value() if secret is not None else None)
    _refuse_in_the_open(host, permitted=settings.allow_plain_http)
    reading = Reading(connections.source(), mappings_of(settings).values(), clock=connections.clock)
    with closing(_listen(host, port)) as listener, _desk(connections, reading, tokens) as desk:
        logging.getLogger("migration_assets.inbox").setLevel(logging.INFO)
        server = uvicorn.Server(
            uvicorn.Config(
                inbox_app(desk),
                access_log=False,
                log_level="critical",  # an error of its own comes with a traceback
                lifespan="off",
                server_header=False,
                limit_concurrency=_AT_ONCE,
                timeout_graceful_shutdown=_GRACE_SECONDS,
            )
        )

        def leave(_signal: int, _frame: FrameType | None) -> None:
            server.should_exit = True

        for each in (signal.SIGTERM, signal.SIGINT):
            # uvicorn's own handlers come later and go earlier, and end by raising the signal again.
            signal.signal(each, leave)
        address, taken = listener.getsockname()[:2]
        shown = f"[{address}]" if ":" in address else address
        listening(Listening(f"http://{shown}:{taken}", tuple(reading.streams)))
        server.run(sockets=[listener])


@contextmanager
def _desk(connections: Connections, reading: Reading, tokens: Tokens) -> Iterator[Desk]:
    settings = connections.settings
    manifest = Manifest(
        settings.manifest_url, clock=connections.clock, sleep=_impatient, keys=settings.keys
    )
    with closing(manifest):
        run_id = manifest.start_run(RUN, pipeline_version=PIPELINE_VERSION)
        yield Desk(
            manifest=manifest,
            reading=reading,
            tokens=tokens,
            adoption=connections.adoption,
            run_id=run_id,
        )
        with suppress(MigrationError):  # is it away, the run has no end, as if it had been cut off
            manifest.finish_run(run_id)


def _impatient(_seconds: float) -> None:
    """Whoever sends is told at once that the database is away, and tries again.

    Raises:
        Transient: always.
    """
    raise Transient("Writing the manifest failed: the database is locked, or gone.")


def _refuse_in_the_open(host: str, *, permitted: bool) -> None:
    if permitted or host == "localhost":
        return
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise Permanent(
            f"The inbox does not listen on {host}: it speaks plain http, and patient data would "
            "travel unencrypted. Let it listen on this machine (--host 127.0.0.1) behind a proxy "
            "with TLS, or permit it with MIGRATION_ALLOW_PLAIN_HTTP=true."
        )


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket: who connects from here on waits, and is not refused."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        raise Permanent(
            f"The inbox cannot listen on {host}, port {port}: {error.strerror}."
        ) from None
    listener.listen(128)
    return listener
