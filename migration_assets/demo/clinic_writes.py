"""Writes to the demo clinic's database that hold only while a row is as the writer believes.

Belongs here: the condition and the write in one transaction, and the tag of a row's state. Does not
belong here: HTTP (``clinic_desk``), writes without a condition (``clinic_store``).
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any

import orjson

from migration_assets.demo.clinic_store import ClinicStore, instant, milliseconds
from migration_assets.demo.clinic_transaction import Transaction


class NotAsExpected(Exception):
    """The row is not as whoever writes believes; ``status`` says in which way."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True)
class State:
    """A row as it lies: its change time, whether it is deleted, and its body as JSON."""

    updated_at: int
    body: bytes
    deleted: bool = False

    @property
    def tag(self) -> str:
        """Its ETag: two states of one millisecond have two."""
        return f'"{self.updated_at}-{hashlib.blake2b(self.body, digest_size=4).hexdigest()}"'

    def answers_to(self, expected: str) -> bool:
        """Whether a writer's If-Match means this state: its ETag, or its ``updated_at``."""
        return expected in (self.tag, instant(self.updated_at), "*")


class WritingStore(ClinicStore):
    """A clinic's database, open, with writes that hold only under conditions."""

    def served(self, stream: str, key: str) -> tuple[bytes, str, bool] | None:
        """The latest row with a key as JSON, its ETag, and whether it is deleted, of one moment."""
        self._connection.execute("BEGIN")
        try:
            found, state = self.row(stream, key), self.state(stream, key)
        finally:
            self._connection.execute("COMMIT")
        return None if found is None or state is None else (found[0], state.tag, found[1])

    def state(self, stream: str, key: str) -> State | None:
        """How the latest row with a key lies; None if there is none."""
        found = self._connection.execute(
            "SELECT updated_at, deleted_at IS NOT NULL, body FROM rows WHERE stream=? AND key=?"
            " ORDER BY deleted_at IS NULL DESC, updated_at DESC, id DESC LIMIT 1",
            (stream, key),
        ).fetchone()
        return None if found is None else State(found[0], bytes(found[2]), deleted=bool(found[1]))

    def add(self, stream: str, key: str, row: dict[str, Any], *, now: datetime) -> None:
        """A row whose key nobody has.

        Raises:
            NotAsExpected: 409, somebody has or had it.
        """
        with Transaction(self._connection):
            if self.state(stream, key) is not None:
                raise NotAsExpected(HTTPStatus.CONFLICT, "there is a row with this key")
            self._put(stream, key, State(milliseconds(now), orjson.dumps(row)))

    def merge(
        self, stream: str, key: str, fields: dict[str, Any], *, now: datetime, expected: str | None
    ) -> None:
        """Fields of a row that lives; the others stay.

        Raises:
            NotAsExpected: 404, 410 or 412.
        """
        with Transaction(self._connection):
            state = self._living(stream, key, expected)
            row = orjson.loads(state.body)
            if not isinstance(row, dict):
                raise NotAsExpected(HTTPStatus.CONFLICT, "the row there is not an object")
            body = orjson.dumps({**row, **fields})
            self._put(stream, key, State(_later(state, now), body))

    def remove(self, stream: str, key: str, *, now: datetime, expected: str | None) -> None:
        """A row that lives, so that a tombstone is left.

        Raises:
            NotAsExpected: 404, 410 or 412.
        """
        with Transaction(self._connection):
            state = self._living(stream, key, expected)
            self._put(stream, key, State(_later(state, now), state.body, deleted=True))

    def _living(self, stream: str, key: str, expected: str | None) -> State:
        state = self.state(stream, key)
        if state is None:
            raise NotAsExpected(HTTPStatus.NOT_FOUND, "no such row")
        if state.deleted:
            raise NotAsExpected(HTTPStatus.GONE, "the row is deleted")
        if expected is not None and not state.answers_to(expected):
            raise NotAsExpected(HTTPStatus.PRECONDITION_FAILED, "the row has changed")
        return state

    def _put(self, stream: str, key: str, state: State) -> None:
        self._connection.execute("DELETE FROM rows WHERE stream=? AND key=?", (stream, key))
        self._connection.execute(
            "INSERT INTO rows (stream, key, updated_at, deleted_at, body) VALUES (?, ?, ?, ?, ?)",
            (
                stream,
                key,
                state.updated_at,
                state.updated_at if state.deleted else None,
                state.body,
            ),
        )


def _later(state: State, now: datetime) -> int:
    return max(milliseconds(now), state.updated_at + 1)
