"""The inbox's HTTP interface.

    POST /events/<stream>   rows as the legacy API has them: an object, or an array of them
    POST /fhir/<Type>       a FHIR resource; ``?deleted=true`` for either: it is gone
    GET  /healthz           whether events can be taken now

Belongs here: addresses, headers, statuses, bounds. Does not belong here: what an event must be
(``reading``), or whose token it is (``tokens``). 202 is said once the rows are committed. Nothing
of a body is in any answer or log line.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeAlias

import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from migration_assets.adoption import Adoption
from migration_assets.errors import MigrationError
from migration_assets.inbox.reading import Reading, RefusedEvent, Sending
from migration_assets.inbox.tokens import Service, Tokens
from migration_assets.legacy import PulledRow
from migration_assets.manifest import Manifest
from migration_assets.manifest.inbox import Event, OtherContent, plain

MAX_BYTES = 5 * 1024 * 1024
_LONGEST_KEY = 200
_BODY_SECONDS = 30.0
_AGAIN_SECONDS = 5
_LOG = logging.getLogger("migration_assets.inbox")

_Read: TypeAlias = Callable[[str, Sending], tuple[Event, list[PulledRow]]]


@dataclass(frozen=True, kw_only=True)
class Desk:
    """What the interface works with; ``adoption`` is read anew for every event."""

    manifest: Manifest
    reading: Reading
    tokens: Tokens
    adoption: Callable[[], Adoption]
    run_id: int
    max_bytes: int = MAX_BYTES
    body_seconds: float = _BODY_SECONDS


def inbox_app(desk: Desk) -> Starlette:
    """The interface over an open account."""
    interface = _Interface(desk)
    return Starlette(
        routes=[
            Route("/events/{stream}", interface.taking(desk.reading.native), methods=["POST"]),
            Route("/fhir/{stream}", interface.taking(desk.reading.fhir), methods=["POST"]),
            Route("/healthz", interface.health),
        ],
        exception_handlers={HTTPException: _refused},
    )


class _Interface:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def health(self, _request: Request) -> Response:
        """Whether the account can be read."""
        try:
            self._desk.manifest.inbox.waiting(())
        except MigrationError:
            return _answer(HTTPStatus.SERVICE_UNAVAILABLE, {"takes_events": False}, again=True)
        return _answer(HTTPStatus.OK, {"takes_events": True})

    def taking(self, read: _Read) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint that takes events as ``read`` reads them."""

        async def take(request: Request) -> Response:
            try:
                service = self._service(request)
                sending = await self._sending(request, service)
                return await run_in_threadpool(
                    self._take, read, request.path_params["stream"], service, sending
                )
            except RefusedEvent as refused:
                return _answer(refused.status, {"error": refused.said})
            except Exception as error:  # noqa: BLE001 - the server would log what it says
                return _failed(request, error)

        return take

    def _service(self, request: Request) -> Service:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        found = self._desk.tokens.service(token.strip()) if scheme.lower() == "bearer" else None
        if found is None:
            raise RefusedEvent(HTTPStatus.UNAUTHORIZED, "Send Authorization: Bearer <token>.")
        return found

    async def _sending(self, request: Request, service: Service) -> Sending:
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise RefusedEvent(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send the body as it is.")
        kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind not in ("application/json", "application/fhir+json"):
            raise RefusedEvent(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send Content-Type: application/json."
            )
        key = request.headers.get("Idempotency-Key", "").strip()
        if not 0 < len(key) <= _LONGEST_KEY or not (key.isascii() and key.isprintable()):
            raise RefusedEvent(
                HTTPStatus.BAD_REQUEST,
                "Send Idempotency-Key: a text of the event's own (a random UUID), the same each "
                f"time it is sent; {_LONGEST_KEY} printable ASCII characters at most.",
            )
        deleted = request.query_params.get("deleted", "false").lower()
        if deleted not in ("true", "false"):
            raise RefusedEvent(HTTPStatus.BAD_REQUEST, "deleted is true or false.")
        return Sending(
            service=service.name,
            key=key,
            body=await self._body(request),
            deleted=deleted == "true",
            modified=request.headers.get("Last-Modified"),
        )

    async def _body(self, request: Request) -> bytes:
        """The body, no more of it than is permitted, and in no more time."""
        most = self._desk.max_bytes
        length = request.headers.get("Content-Length", "0")
        if length.isdecimal() and int(length) > most:
            raise _too_large(most)
        body = bytearray()

        async def read() -> None:
            async for chunk in request.stream():
                body.extend(chunk)
                if len(body) > most:
                    raise _too_large(most)

        try:
            await asyncio.wait_for(read(), self._desk.body_seconds)
        except TimeoutError:
            raise RefusedEvent(
                HTTPStatus.REQUEST_TIMEOUT, "The body did not come in time: send it again."
            ) from None
        except ClientDisconnect:
            raise RefusedEvent(HTTPStatus.BAD_REQUEST, "The body was cut off.") from None
        return bytes(body)

    def _take(self, read: _Read, name: str, service: Service, sending: Sending) -> Response:
        event, rows = self._read(read, name, service, sending)
        try:
            accepted = self._desk.manifest.inbox.accept(event, rows, run_id=self._desk.run_id)
        except OtherContent as error:
            raise RefusedEvent(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
        except MigrationError as error:
            # Nothing is committed: whoever sends it again, with the same key, loses nothing.
            _LOG.error("An event of %s for %s was not taken: %s", service.name, event.stream, error)
            said = "The account cannot be written now. Send the event again, with the same key."
            return _answer(HTTPStatus.SERVICE_UNAVAILABLE, {"error": said}, again=True)
        counts = plain(accepted.landed)
        told = ", ".join(f"{number} {what}" for what, number in counts.items() if number)
        again = " (sent again)" if accepted.replayed else ""
        _LOG.info("%s → %s: %s%s", service.name, event.stream, told, again)
        waits = self._waits(event.stream)
        return _answer(
            HTTPStatus.ACCEPTED,
            {"event": event.key, "landed": counts, "replayed": accepted.replayed}
            | ({"waits": waits} if waits else {}),
        )

    def _read(
        self, read: _Read, name: str, service: Service, sending: Sending
    ) -> tuple[Event, list[PulledRow]]:
        """The event, if the token is for it; who may not send learns nothing of what there is."""
        stream = f"fhir/{name}" if read == self._desk.reading.fhir else name
        if not service.may_send(stream):
            raise RefusedEvent(HTTPStatus.FORBIDDEN, "The token is not for this stream.")
        return read(name, sending)

    def _waits(self, stream: str) -> str:
        """Why what landed is not delivered by itself, if so."""
        kind = self._desk.reading.heads[stream]
        try:
            standing = self._desk.adoption().standing(kind)
        except MigrationError:
            return "adoption.toml cannot be read: nothing is delivered until it can."
        if standing.may_deliver:
            return ""
        if standing.owned_by_medplum:
            return (
                f"{kind} is in phase {standing.phase}: Medplum owns it. The event stays on account "
                "as an edit made on the legacy side, and nothing of it is written."
            )
        return f"{kind} is in phase {standing.phase}: it is delivered once the phase permits."


def _too_large(most: int) -> RefusedEvent:
    return RefusedEvent(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"An event has {most:,} bytes at most: send several."
    )


def _answer(status: HTTPStatus, body: dict[str, Any], *, again: bool = False) -> Response:
    headers = {"Cache-Control": "no-store"}
    if again:
        headers["Retry-After"] = str(_AGAIN_SECONDS)
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(orjson.dumps(body), status, headers, "application/json")


def _refused(_request: Request, error: Exception) -> Response:
    """An address or a method that there is not."""
    status = HTTPStatus(error.status_code) if isinstance(error, HTTPException) else HTTPStatus(500)
    return _answer(status, {"error": status.phrase})


def _failed(_request: Request, error: Exception) -> Response:
    """A mistake of ours: its text may quote the event, and so only its kind is told."""
    _LOG.error("An event was not taken: %s", type(error).__name__)
    said = "The event was not taken, by a mistake of the inbox. Send it again, with the same key."
    return _answer(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": said})
