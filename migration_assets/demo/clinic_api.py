"""The demo clinic's legacy REST API, and the door through which a test or a person changes it.

Belongs here: URLs, keys, statuses, JSON. Does not belong here: SQL (``clinic_store``), writing
through ``/api`` (``clinic_desk``), the server's process (``clinic_server``). ``/api`` takes the
header X-API-Key, ``/admin`` X-Admin-Key.

    GET    /api                         streams, their sizes and latest change
    GET    /api/<stream>                a page of rows in order of change
    GET    /api/<stream>/<key>          one row and its ETag; 404, or 410 when it was deleted
    POST, PUT, PATCH, DELETE            as ``clinic_desk`` says
    POST   /admin/change                {"seed", "updates", "inserts", "deletes"}: a clinic at work
    PUT    /admin/rows/<stream>/<key>   write a row now
    DELETE /admin/rows/<stream>/<key>   delete it now
    PUT    /admin/faults                what goes wrong with the next writes through ``/api``
"""

import base64
import binascii
import hmac
import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote, urlencode

import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from migration_assets.demo.clinic_changes import change
from migration_assets.demo.clinic_desk import Desk
from migration_assets.demo.clinic_store import (
    ClinicStore,
    Position,
    Selection,
    instant,
    milliseconds,
)
from migration_assets.demo.clinic_writes import WritingStore
from migration_assets.errors import Permanent

DEFAULT_LIMIT = 100
MAX_LIMIT = 1_000
_API, _ADMIN = "X-API-Key", "X-Admin-Key"

_Reader: TypeAlias = Callable[[Request], Response]
_Writer: TypeAlias = Callable[[Request, Any], Response]


def clinic_app(
    path: Path,
    *,
    api_key: str,
    admin_key: str,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Starlette:
    """The API over the clinic in ``path``; ``clock`` dates the changes it is told to make."""
    api = _Api(path, clock)
    admin = _Admin(path, clock)
    desk = Desk(path, clock)
    row, own = "/admin/rows/{stream}/{key:path}", "/api/{stream}/{key:path}"
    return Starlette(
        routes=[
            Route("/api", _reading(api_key, api.streams)),
            Route("/api/{stream}", _reading(api_key, api.page), methods=["GET"]),
            Route("/api/{stream}", _writing(_API, api_key, desk.post), methods=["POST"]),
            Route(own, _reading(api_key, api.row), methods=["GET"]),
            Route(own, _writing(_API, api_key, desk.put), methods=["PUT", "PATCH"]),
            Route(own, _writing(_API, api_key, desk.delete), methods=["DELETE"]),
            Route("/admin/change", _writing(_ADMIN, admin_key, admin.change), methods=["POST"]),
            Route("/admin/faults", _writing(_ADMIN, admin_key, desk.go_wrong), methods=["PUT"]),
            Route(row, _writing(_ADMIN, admin_key, admin.put), methods=["PUT"]),
            Route(row, _writing(_ADMIN, admin_key, admin.delete), methods=["DELETE"]),
        ],
        exception_handlers={HTTPException: _refused, Exception: _failed},
    )


class _Api:
    """Reading. Endpoints run in threads: each thread has a read-only connection of its own."""

    def __init__(self, path: Path, clock: Callable[[], datetime]) -> None:
        self._path = path
        self._clock = clock
        self._local = threading.local()

    @property
    def _store(self) -> WritingStore:
        store: WritingStore | None = getattr(self._local, "store", None)
        if store is None:
            store = self._local.store = WritingStore(self._path, read_only=True)
        return store

    def streams(self, _request: Request) -> Response:
        """Every stream with its size."""
        return _json(
            {
                "streams": [
                    {
                        "name": each.name,
                        "rows": each.rows,
                        "deleted": each.deleted,
                        "updated_at": None if each.updated_at is None else instant(each.updated_at),
                    }
                    for each in self._store.streams()
                ]
            }
        )

    def page(self, request: Request) -> Response:
        """A page of rows. ``total`` is counted once, with the first page, and goes along."""
        selection = self._selection(request)
        limit = _limit(request)
        token = request.query_params.get("page_token")
        after, total = _opened(token) if token else (None, self._store.total(selection))
        page = self._store.page(selection, after=after, limit=limit)
        following = None
        if page.following is not None:
            query = dict(request.query_params) | {"page_token": _sealed(page.following, total)}
            following = f"/api/{quote(selection.stream)}?{urlencode(query)}"
        rows = [orjson.Fragment(each) for each in page.rows]
        return _json({"rows": rows, "next": following, "total": total})

    def row(self, request: Request) -> Response:
        """One row."""
        stream, key = request.path_params["stream"], request.path_params["key"]
        self._must_exist(stream)
        found = self._store.served(stream, key)
        if found is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, "no such row")
        body, tag, deleted = found
        answer = _json(orjson.Fragment(body), HTTPStatus.GONE if deleted else HTTPStatus.OK)
        answer.headers["ETag"] = tag
        return answer

    def _selection(self, request: Request) -> Selection:
        stream = request.path_params["stream"]
        self._must_exist(stream)
        return Selection(
            stream,
            since=_moment(request, "updated_since"),
            before=_moment(request, "updated_before"),
            include_deleted=_one_of(request, "include_deleted", {"false": False, "true": True}),
            descending=_one_of(request, "order", {"asc": False, "desc": True}),
        )

    def _must_exist(self, stream: str) -> None:
        if self._store.key_field(stream) is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, "no such stream")


class _Admin:
    """Changing. Each request opens the store: there are few of them."""

    def __init__(self, path: Path, clock: Callable[[], datetime]) -> None:
        self._path = path
        self._clock = clock

    def change(self, _request: Request, body: Any) -> Response:
        """Let the clinic work: seeded updates, inserts and deletes."""
        wanted = {"seed": 0, "updates": 0, "inserts": 0, "deletes": 0}
        if not isinstance(body, dict) or not set(body) <= set(wanted):
            raise HTTPException(HTTPStatus.BAD_REQUEST, f"send some of {', '.join(wanted)}")
        if not all(type(each) is int and each >= 0 for each in body.values()):
            raise HTTPException(HTTPStatus.BAD_REQUEST, "send whole numbers")
        with ClinicStore(self._path) as store:
            try:
                changed = change(store, **{**wanted, **body}, now=self._clock())
            except Permanent as error:
                raise HTTPException(HTTPStatus.BAD_REQUEST, str(error)) from None
        return _json(changed._asdict())

    def put(self, request: Request, body: Any) -> Response:
        """Write a row."""
        stream, key = request.path_params["stream"], request.path_params["key"]
        with ClinicStore(self._path) as store:
            store.declare(stream)
            new = store.put(stream, key, body, now=self._clock())
        return _json({"new": new}, HTTPStatus.CREATED if new else HTTPStatus.OK)

    def delete(self, request: Request, _body: Any) -> Response:
        """Delete a row."""
        stream, key = request.path_params["stream"], request.path_params["key"]
        with ClinicStore(self._path) as store:
            if not store.delete(stream, key, now=self._clock()):
                raise HTTPException(HTTPStatus.NOT_FOUND, "no such row")
        return _json({"deleted": True})


def _reading(key: str, endpoint: _Reader) -> _Reader:
    """``endpoint`` for whoever has the key; Starlette runs it in a thread."""

    def guarded(request: Request) -> Response:
        _demand(request, _API, key)
        return endpoint(request)

    return guarded


def _writing(header: str, key: str, endpoint: _Writer) -> Callable[[Request], Awaitable[Response]]:
    """``endpoint`` with the request's JSON, for whoever has the key; in a thread as well."""

    async def guarded(request: Request) -> Response:
        _demand(request, header, key)
        text = await request.body()
        try:
            body = orjson.loads(text) if text else None
        except orjson.JSONDecodeError:
            raise HTTPException(HTTPStatus.BAD_REQUEST, "send JSON") from None
        return await run_in_threadpool(endpoint, request, body)

    return guarded


def _demand(request: Request, header: str, key: str) -> None:
    if not hmac.compare_digest(request.headers.get(header, "").encode(), key.encode()):
        raise HTTPException(HTTPStatus.UNAUTHORIZED, f"send your key in the header {header}")


def _moment(request: Request, name: str) -> int | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise HTTPException(HTTPStatus.BAD_REQUEST, f"{name} takes an ISO instant with its zone")
    return milliseconds(moment)


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", str(DEFAULT_LIMIT))
    if not (text.isascii() and text.isdigit()) or len(text) > len("999999999") or int(text) < 1:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "limit takes a whole number from 1")
    return min(int(text), MAX_LIMIT)


def _one_of(request: Request, name: str, choices: dict[str, bool]) -> bool:
    text = request.query_params.get(name, next(iter(choices)))
    if text not in choices:
        raise HTTPException(HTTPStatus.BAD_REQUEST, f"{name} takes {' or '.join(choices)}")
    return choices[text]


def _sealed(position: Position, total: int) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([*position, total])).decode()


def _opened(token: str) -> tuple[Position, int]:
    try:
        updated_at, key, row_id, total = orjson.loads(base64.urlsafe_b64decode(token))
        position = Position(int(updated_at), str(key), int(row_id))
        return position, int(total)
    except (ValueError, TypeError, binascii.Error):
        raise HTTPException(HTTPStatus.BAD_REQUEST, "page_token is not one of ours") from None


def _json(content: Any, status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")


def _refused(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = error.detail if isinstance(error, HTTPException) else ""
    return _json({"error": detail}, HTTPStatus(status))


def _failed(_request: Request, _error: Exception) -> Response:
    return _json({"error": "the clinic's server failed"}, HTTPStatus.INTERNAL_SERVER_ERROR)
