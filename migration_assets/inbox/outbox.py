"""An outbox: the event is written in the service's own transaction, and forwarded until taken.

Belongs here: the table in the service's database, and forwarding it in order. Does not belong here:
the service's own data, or one sending (``sending``).

Written in one transaction with the service's row, an event exists exactly if the row was changed;
it is deleted once the inbox said 202. A crash in between sends it again, with its key, and nothing
happens twice. It works over any DB-API connection (sqlite3, psycopg): the service's own, whose
transactions stay the service's. What the inbox refuses for good stays in the table, with the
reason, and keeps nobody else.
"""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from migration_assets.inbox.sending import Refused, Unsent, send_event

TABLE = "migration_outbox"
_PAUSES = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_MANY = 100


class Connection(Protocol):
    """What we need of a DB-API connection."""

    def cursor(self) -> Any: ...  # noqa: D102 - DB-API

    def commit(self) -> Any: ...  # noqa: D102 - DB-API


Send = Callable[..., Any]


@dataclass(frozen=True)
class Outbox:
    """The outbox of one service; ``mark`` is how its driver writes a parameter: ``?`` or ``%s``."""

    url: str
    token: str
    mark: str = "?"
    send: Send = send_event
    sleep: Callable[[float], None] = time.sleep
    new_key: Callable[[], Any] = uuid.uuid4

    def create(self, connection: Connection) -> None:
        """Make the table, if there is none; commits."""
        number = "INTEGER PRIMARY KEY" if self.mark == "?" else "BIGSERIAL PRIMARY KEY"
        connection.cursor().execute(
            f"CREATE TABLE IF NOT EXISTS {TABLE} (id {number}, event TEXT NOT NULL UNIQUE,"
            " stream TEXT NOT NULL, content TEXT NOT NULL, deleted INTEGER NOT NULL,"
            " modified TEXT, refused TEXT)"
        )
        connection.commit()

    def put(
        self,
        connection: Connection,
        stream: str,
        content: Any,
        *,
        deleted: bool = False,
        modified: str | None = None,
    ) -> str:
        """Write an event down in the transaction that is under way; returns its key.

        The caller commits it, together with the change that it tells of.
        """
        key = str(self.new_key())
        marks = ", ".join([self.mark] * 5)
        connection.cursor().execute(
            f"INSERT INTO {TABLE} (event, stream, content, deleted, modified) VALUES ({marks})",  # noqa: S608 - our own names
            (key, stream, orjson.dumps(content).decode(), int(deleted), modified),
        )
        return key

    def forward(self, connection: Connection) -> int:
        """Send what waits, oldest first; returns how many were taken.

        Commits after each. What is refused is kept apart, with the reason.

        Raises:
            Unsent: the inbox cannot be reached; what waits is still there.
        """
        sent = 0
        while waiting := self._waiting(connection):
            for number, key, stream, content, deleted, modified in waiting:
                try:
                    self.send(
                        self.url,
                        self.token,
                        stream,
                        content.encode(),
                        key=key,
                        deleted=bool(deleted),
                        modified=modified,
                    )
                except Refused as error:
                    kept = f"UPDATE {TABLE} SET refused = {self.mark}"  # noqa: S608
                    self._say(connection, kept, number, str(error))
                else:
                    self._say(connection, f"DELETE FROM {TABLE}", number)  # noqa: S608
                    sent += 1
        return sent

    def forward_for_ever(self, connect: Callable[[], Connection], *, every: float = 0.5) -> None:
        """Forward again and again, resting longer while the inbox is away; for a thread."""
        failures = 0
        while True:
            try:
                self.forward(connect())
                failures = 0
                self.sleep(every)
            except Unsent as error:
                pause = _PAUSES[min(failures, len(_PAUSES) - 1)]
                failures += 1
                self.sleep(max(pause, error.wait or 0.0))

    def refused(self, connection: Connection) -> list[tuple[str, str, str]]:
        """What the inbox will not take: key, stream and reason."""
        cursor = connection.cursor()
        cursor.execute(
            f"SELECT event, stream, refused FROM {TABLE} WHERE refused IS NOT NULL ORDER BY id"  # noqa: S608
        )
        return [tuple(row) for row in cursor.fetchall()]

    def _waiting(self, connection: Connection) -> list[Any]:
        cursor = connection.cursor()
        cursor.execute(
            f"SELECT id, event, stream, content, deleted, modified FROM {TABLE}"  # noqa: S608
            f" WHERE refused IS NULL ORDER BY id LIMIT {_MANY}"
        )
        found = list(cursor.fetchall())
        connection.commit()  # a reading transaction is not to stay open while we send
        return found

    def _say(self, connection: Connection, statement: str, number: int, *values: Any) -> None:
        connection.cursor().execute(f"{statement} WHERE id = {self.mark}", (*values, number))
        connection.commit()
