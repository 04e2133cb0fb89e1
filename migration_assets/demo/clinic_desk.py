"""The demo clinic's API for those who write: its front desk, its other software, and write-back.

Belongs here: what may be written through ``/api``, under which condition, and what the clinic gets
wrong when it is told to. Does not belong here: SQL (``clinic_store``), reading (``clinic_api``).
All of it takes the header X-API-Key, like reading.

    POST   /api/<stream>          a new row; the clinic gives it a key, unless it brings one
    PUT    /api/<stream>/<key>    the fields of the body, the others stay; PATCH is the same
    DELETE /api/<stream>/<key>    delete it; what is left is a tombstone

``updated_at`` is the clinic's own. ``If-Match`` takes the ETag that a GET of the row answers with,
or its ``updated_at``; another one is 412. A POST with an ``Idempotency-Key`` that was used before
answers as it did then. A row that makes no sense is 422.
"""

import hashlib
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import datetime
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeAlias

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from migration_assets.demo.clinic_store import OTHER_KEY_FIELD
from migration_assets.demo.clinic_writes import NotAsExpected, WritingStore

_LONGEST = 2_000  # characters of a text
_OURS = ("updated_at", "deleted_at")

_Message: TypeAlias = MutableMapping[str, Any]
_Send: TypeAlias = Callable[[_Message], Awaitable[None]]


class WriteFault(StrEnum):
    """What the clinic can be told to get wrong, write by write."""

    NONE = "none"
    DROP = "drop"  # written, and the connection closed in the middle of the answer
    LOSE = "lose"  # not written, and the connection closed in the middle of the answer
    FAIL = "fail"  # 500, not written
    FAIL_AFTER = "fail-after"  # 500, written
    LIE = "lie"  # 200 with an error in its body, not written
    UNAVAILABLE = "unavailable"  # 503, not written
    THROTTLE = "throttle"  # 429 with Retry-After 0, not written
    REFUSE = "refuse"  # 422, not written


_WRITTEN = (WriteFault.NONE, WriteFault.DROP, WriteFault.FAIL_AFTER)
_CUT_OFF = (WriteFault.DROP, WriteFault.LOSE)
_STATUS = {
    WriteFault.FAIL: HTTPStatus.INTERNAL_SERVER_ERROR,
    WriteFault.FAIL_AFTER: HTTPStatus.INTERNAL_SERVER_ERROR,
    WriteFault.LIE: HTTPStatus.OK,
    WriteFault.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    WriteFault.THROTTLE: HTTPStatus.TOO_MANY_REQUESTS,
    WriteFault.REFUSE: HTTPStatus.UNPROCESSABLE_ENTITY,
}


class Desk:
    """Writing. Each request opens the store: there are few of them."""

    def __init__(self, path: Path, clock: Callable[[], datetime]) -> None:
        self._path = path
        self._clock = clock
        self._guard = threading.Lock()
        self._faults: list[WriteFault] = []
        self._answered: dict[tuple[str, str], tuple[bytes, str]] = {}

    def go_wrong(self, _request: Request, body: Any) -> Response:
        """PUT /admin/faults: what happens to the next writes, one after the other."""
        try:
            wanted = [WriteFault(each) for each in body]
        except (TypeError, ValueError):
            names = ", ".join(WriteFault)
            raise HTTPException(HTTPStatus.BAD_REQUEST, f"send a list of {names}") from None
        with self._guard:
            self._faults = wanted
        return _answer({"faults": len(wanted)})

    def post(self, request: Request, body: Any) -> Response:
        """A new row."""
        return self._with_fault(lambda: self._post(request, body))

    def put(self, request: Request, body: Any) -> Response:
        """Fields of a row."""
        return self._with_fault(lambda: self._put(request, body))

    def delete(self, request: Request, _body: Any) -> Response:
        """A row less."""
        return self._with_fault(lambda: self._delete(request))

    def _with_fault(self, write: Callable[[], Response]) -> Response:
        with self._guard:
            fault = self._faults.pop(0) if self._faults else WriteFault.NONE
        answer = write() if fault in _WRITTEN else None
        if fault is WriteFault.NONE and answer is not None:
            return answer
        if fault in _CUT_OFF:
            return _CutOff()
        headers = {"Retry-After": "0"} if fault is WriteFault.THROTTLE else {}
        return _answer({"error": "the clinic was told to"}, _STATUS[fault], headers)

    def _post(self, request: Request, body: Any) -> Response:
        stream, now = request.path_params["stream"], self._clock()
        once = (stream, request.headers.get("Idempotency-Key", ""))
        with self._guard, WritingStore(self._path) as store, _as_http():
            field = _key_field(store, stream)
            row = _row(body)
            if once[1] and once in self._answered:
                return _written(*self._answered[once], HTTPStatus.CREATED)
            key = row.get(field) or _new_key(stream, row, now)
            if not isinstance(key, str):
                raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, f"{field} must be a text")
            store.add(stream, key, {**row, field: key}, now=now)
            answer = _as_it_lies(store, stream, key)
            if once[1]:
                self._answered[once] = answer
        return _written(*answer, HTTPStatus.CREATED)

    def _put(self, request: Request, body: Any) -> Response:
        stream, key = request.path_params["stream"], request.path_params["key"]
        with WritingStore(self._path) as store, _as_http():
            field = _key_field(store, stream)
            row = _row(body)
            if row.get(field, key) != key:
                raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, f"{field} is another row's")
            store.merge(stream, key, row, now=self._clock(), expected=_expected(request))
            return _written(*_as_it_lies(store, stream, key), HTTPStatus.OK)

    def _delete(self, request: Request) -> Response:
        stream, key = request.path_params["stream"], request.path_params["key"]
        with WritingStore(self._path) as store, _as_http():
            _key_field(store, stream)
            store.remove(stream, key, now=self._clock(), expected=_expected(request))
        return _answer({"deleted": True})


class _as_http:  # noqa: N801 - reads like a word of the language
    """What the store will not write, as a status."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if isinstance(error, NotAsExpected):
            raise HTTPException(error.status, str(error)) from None


class _CutOff(Response):
    """The connection ends in the middle of the answer."""

    async def __call__(self, _scope: Any, _receive: Any, send: _Send) -> None:
        length = [(b"content-length", b"100"), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": length})
        await send({"type": "http.response.body", "body": b'{"upd', "more_body": True})


def _as_it_lies(store: WritingStore, stream: str, key: str) -> tuple[bytes, str]:
    found = store.served(stream, key)
    return (b"{}", "") if found is None else found[:2]


def _key_field(store: WritingStore, stream: str) -> str:
    field = store.key_field(stream)
    if field is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "no such stream")
    return field or OTHER_KEY_FIELD


def _row(body: Any) -> dict[str, Any]:
    """The fields to write: what the clinic keeps by itself is left out."""
    if not isinstance(body, dict):
        raise HTTPException(HTTPStatus.BAD_REQUEST, "send a JSON object")
    row = {name: each for name, each in body.items() if name not in _OURS}
    wrong = [name for name, each in row.items() if isinstance(each, str) and len(each) > _LONGEST]
    if wrong:
        raise HTTPException(
            HTTPStatus.UNPROCESSABLE_ENTITY, f"{', '.join(wrong)}: at most {_LONGEST} characters"
        )
    return row


def _expected(request: Request) -> str | None:
    return request.headers.get("If-Match")


def _new_key(stream: str, row: dict[str, Any], now: datetime) -> str:
    said = orjson.dumps([stream, row, now.isoformat()], option=orjson.OPT_SORT_KEYS)
    return f"N{hashlib.blake2b(said, digest_size=6).hexdigest()}"


def _written(body: bytes, tag: str, status: HTTPStatus) -> Response:
    return _answer(orjson.Fragment(body), status, {"ETag": tag})


def _answer(
    content: Any, status: HTTPStatus = HTTPStatus.OK, headers: dict[str, str] | None = None
) -> Response:
    return Response(
        orjson.dumps(content), status, headers=headers or {}, media_type="application/json"
    )
